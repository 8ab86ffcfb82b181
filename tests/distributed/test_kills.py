"""The random end-to-end test on PostgreSQL, two services and two Celery workers, which are killed again and again."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from dagster import DagsterRunStatus

from orchestration.catalog import load_catalog
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse
from tests.distributed.estate import PATIENCE_SECONDS, Tenant, running_estate
from tests.e2e.device import Device
from tests.e2e.system import answers
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e

KILL_EVERY_SECONDS = 20.0
PACE_SECONDS = 0.4
"""Between a change with two polls, and the next."""
WORKERS = 2
FEWEST_PUBLICATIONS = 3


class Replicas:
    """Two services; each is killed as by a crash and started again, as systemd or Kubernetes would."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.places = {name: free_port() for name in ("one", "two")}
        self.addresses = [tenant.start_replica(name, port) for name, port in self.places.items()]

    def strike(self, rng: random.Random) -> None:
        name = rng.choice(list(self.places))
        self.tenant.kill(name)
        self.tenant.start_replica(name, self.places[name])


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    with running_estate(tmp_path, "acme", accounts=100, workers=WORKERS) as (tenant,):
        tenant.wait_loaded()
        yield tenant


def test_all_devices_end_equal_to_the_oracle_while_a_worker_and_a_service_are_killed_every_20_seconds(
    tenant: Tenant, e2e_seed: int, request: pytest.FixtureRequest
) -> None:
    seconds = request.config.getoption("--kill-seconds")
    kills = max(1, seconds // KILL_EVERY_SECONDS)
    rng = random.Random(e2e_seed)
    replicas = Replicas(tenant)
    devices = tenant.devices()
    for device in devices:
        wait_until(partial(answered, tenant, device, replicas, rng), 60, "a first answer")
    began = time.monotonic()
    struck, changes, polls = 0, 0, 0
    # On a busy machine runs are slow: then changes go on until enough was published to prove anything, but not the
    # kills, which would let no run end that takes longer than the time between two.
    while (elapsed := time.monotonic() - began) < seconds or publications(tenant) < FEWEST_PUBLICATIONS:
        assert elapsed < seconds + PATIENCE_SECONDS
        if struck < kills and elapsed > (struck + 0.5) * KILL_EVERY_SECONDS:
            number = worker_in_a_run(tenant)
            # The first strike waits for a run, so that at least one is hit; the others go by the clock.
            if struck or number:
                number = number or rng.randint(1, WORKERS)
                tenant.kill(f"worker{number}")
                tenant.start_worker(number)
                replicas.strike(rng)
                struck += 1
        tenant.changes.step()
        changes += 1
        polls += sum(answered(tenant, device, replicas, rng) for device in rng.sample(devices, 2))
        time.sleep(PACE_SECONDS)
    for address in replicas.addresses:
        wait_until(partial(answers, f"{address}/readyz"), 60, "the service is ready")
    tenant.wait_equal()
    with open_warehouse(tenant.home / "warehouse.duckdb", load_catalog(), wait_seconds=60) as connection:
        assert not any(differences(connection).values())
    ends = [record.dagster_run.status.value for record in tenant.runs()]
    request.node.add_report_section(
        "call",
        "seen",
        f"{struck} workers and services killed, {changes} changes, {polls} polls, {publications(tenant)} publications,"
        f" runs: { {end: ends.count(end) for end in set(ends)} }",
    )
    assert struck == kills
    assert "FAILURE" in ends


def publications(tenant: Tenant) -> int:
    """How many the store has; 0 while no service says so."""
    try:
        return int(tenant.http.get(f"{tenant.service}/readyz").json()["publishedSeq"])
    except (httpx.TransportError, KeyError):
        return 0


def answered(tenant: Tenant, device: Device, replicas: Replicas, rng: random.Random) -> bool:
    """Whether one of the services answered; one that was killed, or starts, is asked again later."""
    device.base = rng.choice(replicas.addresses)
    try:
        return device.poll_if_answered(tenant.http, limit=20)
    except httpx.TransportError:
        return False


def worker_in_a_run(tenant: Tenant) -> int | None:
    """The number of a worker that is executing a run just now."""
    for record in tenant.runs(None, DagsterRunStatus.STARTED):
        for pid in tenant.processes_of(record.dagster_run.run_id):
            for number in range(1, WORKERS + 1):
                if os.getpgid(pid) == tenant.processes[f"worker{number}"].pid:
                    return number
    return None
