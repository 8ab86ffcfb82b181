"""``full_load``: everything by SOAP from the simulator into an empty warehouse, killed again and again on the way.

``BENCH_ACCOUNTS`` sets the size: there are two contacts and one other row for each account. The simulator answers
without delay, so processor time decides; the load is killed each ``BENCH_SLICE_SECONDS`` and goes on where it was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import httpx

from benchmarks.data import CACHE
from benchmarks.results import Measurement
from benchmarks.serving.processes import Server, free_port, running
from orchestration.catalog import load_catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.paging import pages_of
from orchestration.crm.requests import MAX_PAGE_SIZE_ROWS
from orchestration.crm.settings import CrmSettings
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.ingest import poll
from orchestration.pipeline.warehouse import open_warehouse, scalar
from orchestration.settings import PipelineSettings

ACCOUNTS = int(os.environ.get("BENCH_ACCOUNTS") or 20_000)
ACCOUNTS_A_TERRITORY = 200
SLICE_SECONDS = float(os.environ.get("BENCH_SLICE_SECONDS") or 15)
MOST_SECONDS_TO_START = 900
CATALOG = load_catalog()


@dataclass(frozen=True)
class Slice:
    """What one process did before it was killed, or done. ``requests`` are those that reached the simulator."""

    done: bool
    seconds: float
    rows: int
    requests: int
    client_cpu_seconds: float
    simulator_cpu_seconds: float
    client_peak_mib: float


def full_load() -> list[Measurement]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="full-load-", dir=CACHE) as name, simulator(Path(name)) as server:
        generated_mib = server.peak_kib() / 1024
        slices: list[Slice] = []
        while not slices or not slices[-1].done:
            slices.append(one_slice(server, Path(name)))
            print(slices[-1], flush=True)
            if not slices[-1].rows and not slices[-1].done:
                raise RuntimeError(f"nothing was stored within {SLICE_SECONDS:g} s: set BENCH_SLICE_SECONDS")
        held = rows_held(Path(name))
        summary = httpx.get(f"{server.url}/control/summary", timeout=MOST_SECONDS_TO_START).json()
        assert held == {obj.name: summary["objects"][obj.service] for obj in CATALOG}
        # Of each object, read whole and without a break.
        pages = sum(pages_of(rows, MAX_PAGE_SIZE_ROWS) for rows in held.values())
        # Each process asks for the CRM's clock once.
        again = sum(s.requests for s in slices) - len(slices) - pages
        size_mib = (Path(name) / "warehouse.duckdb").stat().st_size / 2**20
        simulator_peak_mib = server.peak_kib() / 1024
    what = f"{sum(held.values())} rows, {pages} pages, {len(slices) - 1} kills"
    figures: dict[str, list[float]] = {
        "s": [sum(s.seconds for s in slices)],
        "pages a second": [s.requests / s.seconds for s in slices],
        "client's CPU ms a page": [1000 * s.client_cpu_seconds / s.requests for s in slices],
        "simulator's CPU ms a page": [1000 * s.simulator_cpu_seconds / s.requests for s in slices],
        "pages read twice": [again],
        "client's MiB at its peak": [s.client_peak_mib for s in slices],
        "simulator's MiB, filled": [generated_mib],
        "simulator's MiB at its peak": [simulator_peak_mib],
        "MiB of warehouse": [size_mib],
    }
    return [Measurement(what, unit, values, "", []) for unit, values in figures.items()]


@contextmanager
def simulator(folder: Path) -> Iterator[Server]:
    """Filled, and ready to answer."""
    port = free_port()
    command = [sys.executable, "-m", "crm_simulator", "--port", port, "--min-interval-ms", 0, "--sparse"]
    command += ["--accounts", ACCOUNTS, "--territories", max(1, ACCOUNTS // ACCOUNTS_A_TERRITORY)]
    with running(command, port, log=folder / "simulator.log", core=None) as server:
        # It listens before it makes its rows.
        httpx.get(f"{server.url}/control/requests", timeout=MOST_SECONDS_TO_START).raise_for_status()
        yield server


def one_slice(server: Server, folder: Path) -> Slice:
    """Load in a process of its own for ``SLICE_SECONDS`` at most."""
    rows_before, requests_before = sum(rows_held(folder).values()), _requests(server)
    cpu_before, started = server.cpu_seconds(), time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.full_load", server.url, str(folder)])
    timer = threading.Timer(SLICE_SECONDS, process.send_signal, (signal.SIGKILL,))
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the load ended with {process.returncode}")
    return Slice(
        done=process.returncode == 0,
        seconds=seconds,
        rows=sum(rows_held(folder).values()) - rows_before,
        requests=_requests(server) - requests_before,
        client_cpu_seconds=usage.ru_utime + usage.ru_stime,
        simulator_cpu_seconds=server.cpu_seconds() - cpu_before,
        client_peak_mib=usage.ru_maxrss / 1024,
    )


def rows_held(folder: Path) -> dict[str, int]:
    """Live rows by object in the warehouse."""
    with _warehouse(folder) as connection:
        sql = "SELECT count(*) FROM snapshot.\"{}\" WHERE _state = 'live'"
        return {obj.name: scalar(connection, sql.format(obj.table)) for obj in CATALOG}


def load(url: str, folder: Path) -> None:
    """As the job ``full_load`` does: begin, or go on."""
    opened = partial(_warehouse, folder)
    with CrmClient(CrmSettings(f"{url}/Services/Integration", "DEMO/INTEGRATION", "simulator-only")) as crm:
        poll(opened, crm, CATALOG, PipelineSettings(folder), full_load=True)
        for obj in CATALOG:
            hydrate(opened, crm, CATALOG, obj)
        hydrate_remaining(opened, crm, CATALOG)


def _warehouse(folder: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return open_warehouse(folder / "warehouse.duckdb", CATALOG, wait_seconds=10)


def _requests(server: Server) -> int:
    """How many have reached the simulator; this one is no SOAP request and not counted."""
    kept = httpx.get(f"{server.url}/control/requests", timeout=60).json()
    return int(kept[-1]["number"]) if kept else 0


if __name__ == "__main__":
    load(sys.argv[1], Path(sys.argv[2]))
