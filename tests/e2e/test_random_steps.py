"""The main path with real processes: after each poll every device holds exactly what a naive model says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from orchestration.catalog import load_catalog
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse, scalar
from tests.e2e.changes import RandomChanges
from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.system import System, running_system

pytestmark = pytest.mark.e2e

STEPS = 200
SYNC_SHARE = 0.2
NO_GUARD = {"DELTA_GUARD_MIN_ROWS": "1000000"}
"""For tests of other things: here and in the chaos test the guard is the default one."""


def test_every_device_holds_exactly_its_territories_after_each_poll(tmp_path: Path, e2e_seed: int) -> None:
    rng = random.Random(e2e_seed)
    with running_system(tmp_path) as system:
        system.start_crm(accounts=150, territories=6, seed=e2e_seed)
        changes = RandomChanges(system, e2e_seed)
        system.run_job("full_load")
        system.start_service()
        system.wait_published()
        published = Oracle(system)
        devices = fleet(system, changes.territories, rng)
        for _ in range(STEPS):
            changes.step()
            if rng.random() < SYNC_SHARE:
                published = sync(system)
                check_recompute(tmp_path)
                system.wait_served()
            for device, scope in rng.sample(devices, 2):
                poll_and_check(system, device, scope, published, rng)
        published = sync(system)
        system.wait_served()
        for device, scope in devices:
            poll_and_check(system, device, scope, published, rng)


def fleet(system: System, territories: list[str], rng: random.Random) -> list[tuple[Device, set[str]]]:
    """Twenty devices: some with one territory by name in the path, some with a scope of several that changes."""
    devices: list[tuple[Device, set[str]]] = []
    for number in range(20):
        if number % 2:
            scope = {rng.choice(territories)}
            route = f"/v1/territories/{next(iter(scope))}/delta"
        else:
            scope = set(rng.sample(territories, rng.randint(1, 3)))
            route = "/v1/delta"
        devices.append((Device(f"device {number}", system.service, route, system.token(*sorted(scope))), scope))
    return devices


def poll_and_check(system: System, device: Device, scope: set[str], published: Oracle, rng: random.Random) -> None:
    if device.route == "/v1/delta" and rng.random() < 0.2:
        # The representative gains and loses territories; the cursor stays.
        everything = [record["Id"] for record in system.records("Territory")]
        scope.clear()
        scope.update(rng.sample(everything, rng.randint(0, 3)))
        device.token = system.token(*sorted(scope))
    device.poll(system.http, limit=rng.choice([3, 20, 100, 5000]))
    device.expect(published.view(scope))


def sync(system: System) -> Oracle:
    """Run a sync over all that happened; the CRM is at rest meanwhile, so its records are what must be published."""
    system.control("clock", advance_seconds=3)
    moment = Oracle(system)
    system.run_job("sync")
    return moment


def check_recompute(home: Path) -> None:
    """And nothing is held: what devices must have is then exactly what the CRM has."""
    with open_warehouse(home / "warehouse.duckdb", load_catalog(), wait_seconds=10) as connection:
        found = differences(connection)
        found["held rows"] = scalar(connection, "SELECT count(*) FROM held_row")
    assert not any(found.values()), found
