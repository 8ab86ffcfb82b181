"""P7 ``freshness``: from an edit in the CRM to the moment a device can read it, in the demo's system as shipped."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks.data import CACHE
from benchmarks.results import Measurement
from benchmarks.serving.processes import free_port, running, wait_until

PROJECT = Path(__file__).parents[2]
EDITS = 24
# Of the demo.
ACCOUNTS, TERRITORIES = 2_000, 20
START_SECONDS = 900
PATIENCE_SECONDS = 120
# Longer than any rhythm of the system: edits fall anywhere between two looks at the CRM.
MAX_PAUSE_SECONDS = 15


class System(NamedTuple):
    crm: str
    service: str


def freshness() -> list[Measurement]:
    chance = random.Random(7)
    with _system() as system, httpx.Client(timeout=70) as client:
        accounts: list[dict[str, Any]] = client.get(f"{system.crm}/control/records/Account").raise_for_status().json()
        placed = [account for account in accounts if account.get("TerritoryId")]
        _edit_and_wait(client, system, chance.choice(placed), "warm-up")
        seconds = []
        for number in range(EDITS):
            time.sleep(chance.uniform(0, MAX_PAUSE_SECONDS))
            seconds.append(_edit_and_wait(client, system, chance.choice(placed), f"edit {number}"))
    tail = sorted(seconds)[int(0.95 * len(seconds))]
    return [
        Measurement(f"an edit until it can be read, {EDITS} edits", "s", seconds, "target: median 8 s", []),
        Measurement("the same, 95th percentile", "s", [tail], "target 15 s", []),
    ]


def _edit_and_wait(client: httpx.Client, system: System, account: dict[str, Any], text: str) -> float:
    """Seconds from the CRM's answer to the edit until a device that listens has the row."""
    delta = f"{system.service}/v1/territories/{account['TerritoryId']}/delta"
    # The cursor of a device that is up to date, without fetching the rows.
    digest = client.get(f"{system.service}/v1/territories/{account['TerritoryId']}/digest").raise_for_status()
    cursor = digest.headers["sync-cursor"]
    edit = {"object": "Account", "id": account["Id"], "fields": {"Location": text}}
    client.post(f"{system.crm}/control/update", json=edit).raise_for_status()
    started = time.monotonic()
    while time.monotonic() < started + PATIENCE_SECONDS:
        answer = client.get(delta, params={"since": cursor, "wait": 30}).raise_for_status()
        if any(row["location"] == text for row in answer.json()["account"]["update"]):
            return time.monotonic() - started
        cursor = answer.headers["sync-cursor"]
    raise TimeoutError(f"{text} of {account['Id']} has not arrived in {PATIENCE_SECONDS} s")


@contextmanager
def _system() -> Iterator[System]:
    """The demo's processes on free ports, with a home of their own, after the first load."""
    home = Path(tempfile.mkdtemp(prefix="freshness-", dir=CACHE))
    ports = {name: free_port() for name in ("CRM_PORT", "DAGSTER_PORT", "DAGSTER_CODE_PORT", "DELTA_PORT")}
    system = System(f"http://127.0.0.1:{ports['CRM_PORT']}", f"http://127.0.0.1:{ports['DELTA_PORT']}")
    environment = {name: str(port) for name, port in ports.items()} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "DEMO_ACCOUNTS": str(ACCOUNTS),
        "DEMO_TERRITORIES": str(TERRITORIES),
        "DELTA_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "CRMOD_URL": f"{system.crm}/Services/Integration",
        "CRMOD_USERNAME": "DEMO/INTEGRATION",
        "CRMOD_PASSWORD": "simulator-only",
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "60",
    }
    try:
        (home / "dagster").mkdir()
        shutil.copyfile(PROJECT / "orchestration/dagster_home/dagster.yaml", home / "dagster/dagster.yaml")
        honcho = Path(sys.executable).with_name("honcho")
        start = [honcho, "start", "--procfile", PROJECT / "demo/Procfile", "--app-root", PROJECT]
        with running(start, ports["DELTA_PORT"], log=home / "log", environment=environment, core=None):
            wait_until(lambda: _is_ready(system), START_SECONDS, f"the first load (log: {home / 'log'})")
            yield system
    finally:
        shutil.rmtree(home)


def _is_ready(system: System) -> bool:
    try:
        return httpx.get(f"{system.service}/readyz").status_code == 200
    except httpx.TransportError:
        return False
