"""What the end-to-end tests have in common: a sync whose result is known, devices that must hold it, crashes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from orchestration.catalog import load_catalog
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse, scalar
from tests.e2e.changes import RandomChanges
from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.system import System, running_system

NO_GUARD = {"DELTA_GUARD_MIN_ROWS": "1000000"}
"""For tests of other things; random steps and chaos run with the guard that is shipped."""

ScopedDevice = tuple[Device, set[str]]
"""A device, and the territories that its token names."""


@contextmanager
def loaded_system(home: Path, accounts: int, territories: int, seed: int, **environment: str) -> Iterator[System]:
    """A running system whose service serves what a full load has read."""
    with running_system(home, **environment) as system:
        system.start_crm(accounts=accounts, territories=territories, seed=seed)
        system.run_job("full_load")
        system.start_service()
        system.wait_published()
        yield system


def sync(system: System) -> Oracle:
    """Run a sync over all that happened; the CRM is at rest meanwhile, so its records are what must be published."""
    system.control("clock", advance_seconds=3)
    moment = Oracle(system)
    system.run_job("sync")
    return moment


def check_recompute(home: Path, catalog: Path | None = None) -> None:
    """The published tables are what a recompute from the snapshots gives.

    And nothing is held: what devices must have is then exactly what the CRM has.
    """
    with open_warehouse(home / "warehouse.duckdb", load_catalog(catalog), wait_seconds=10) as connection:
        found = differences(connection)
        found["held rows"] = scalar(connection, "SELECT count(*) FROM held_row")
    assert not any(found.values()), found


def device_of_each_territory(system: System, territories: list[str]) -> list[ScopedDevice]:
    return [(Device(t, system.service, f"/v1/territories/{t}/delta", system.token(t)), {t}) for t in territories]


def poll_and_expect(system: System, devices: list[ScopedDevice], truth: Oracle, limit: int = 100) -> None:
    """Each device holds exactly what its territories may see."""
    system.wait_served()
    for device, scope in devices:
        device.poll(system.http, limit=limit)
        device.expect(truth.view(scope))


def kill_after(system: System, job: str, seconds: float, *options: str) -> int:
    """Start a job and kill it after so long; 1 if it was still running then."""
    process = system.start_job(job, *options)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return 0
        time.sleep(0.01)
    process.kill()
    return 1


def job_config(system: System, op: str, **values: object) -> list[str]:
    """Options that give a job's op this config."""
    path = system.home / f"{op}.yaml"
    path.write_text(yaml.safe_dump({"ops": {op: {"config": values}}}))
    return ["-c", str(path)]


def run_random_steps(home: Path, seed: int, *, steps: int, sync_share: float, **environment: str) -> None:
    """After each poll every device holds exactly what a naive model says, whatever happened in the CRM."""
    rng = random.Random(seed)
    with running_system(home, **environment) as system:
        system.start_crm(accounts=150, territories=6, seed=seed)
        changes = RandomChanges(system, seed)
        system.run_job("full_load")
        system.start_service()
        system.wait_published()
        published = Oracle(system)
        devices = _fleet(system, changes.territories, rng)
        for _ in range(steps):
            changes.step()
            if rng.random() < sync_share:
                published = sync(system)
                check_recompute(home)
                system.wait_served()
            for device, scope in rng.sample(devices, 2):
                _change_scope_sometimes(system, device, scope, rng)
                device.poll(system.http, limit=rng.choice([3, 20, 100, 5000]))
                device.expect(published.view(scope))
        published = sync(system)
        system.wait_served()
        for device, scope in devices:
            _change_scope_sometimes(system, device, scope, rng)
            device.poll(system.http, limit=rng.choice([3, 20, 100, 5000]))
            device.expect(published.view(scope))


def _fleet(system: System, territories: list[str], rng: random.Random) -> list[ScopedDevice]:
    """Twenty devices: some with one territory by id in the path, some with a scope of several that changes."""
    devices: list[ScopedDevice] = []
    for number in range(20):
        if number % 2:
            scope = {rng.choice(territories)}
            route = f"/v1/territories/{next(iter(scope))}/delta"
        else:
            scope = set(rng.sample(territories, rng.randint(1, 3)))
            route = "/v1/delta"
        devices.append((Device(f"device {number}", system.service, route, system.token(*sorted(scope))), scope))
    return devices


def _change_scope_sometimes(system: System, device: Device, scope: set[str], rng: random.Random) -> None:
    """The representative gains and loses territories; the cursor stays."""
    if device.route == "/v1/delta" and rng.random() < 0.2:
        everything = [record["Id"] for record in system.records("Territory")]
        scope.clear()
        scope.update(rng.sample(everything, rng.randint(0, 3)))
        device.token = system.token(*sorted(scope))
