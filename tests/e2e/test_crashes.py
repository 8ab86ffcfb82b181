"""kill -9 at random moments: the next run puts everything right without a person, and no device ever ends wrong."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.changes import RandomChanges
from tests.e2e.steps import NO_GUARD, check_recompute, device_of_each_territory, kill_after, poll_and_expect, sync
from tests.e2e.system import running_system

pytestmark = pytest.mark.e2e

KILLS_BETWEEN_FULL_SYNCS = 3
KILLS_OF_A_FULL_LOAD = 4
FULL_LOAD_SECONDS = (0.1, 2.0)
"""It is struck somewhere in these, and goes on from there."""


def test_a_sync_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    rng = random.Random(7)
    kills = pytestconfig.getoption("--sync-kills")
    with running_system(tmp_path, **NO_GUARD) as system:
        system.start_crm(accounts=120, territories=4, seed=7)
        changes = RandomChanges(system, 7)
        system.run_job("full_load")
        for _ in range(4):
            changes.step()
        started = time.monotonic()
        sync(system)
        usual_seconds = time.monotonic() - started
        system.start_service()
        system.wait_published()
        devices = device_of_each_territory(system, changes.territories)
        killed = 0
        while killed < kills:
            for _ in range(KILLS_BETWEEN_FULL_SYNCS):
                for _ in range(rng.randint(1, 4)):
                    changes.step()
                system.control("clock", advance_seconds=3)
                killed += kill_after(system, "sync", rng.uniform(0.05, 1.0) * usual_seconds)
                if rng.random() < 0.3:
                    system.kill("service")
                    system.start_service()
                for device, _ in devices:
                    device.poll(system.http, limit=50)
            published = sync(system)
            check_recompute(tmp_path)
            poll_and_expect(system, devices, published, limit=50)


def test_a_full_load_killed_again_and_again_ends_complete(tmp_path: Path) -> None:
    rng = random.Random(11)
    with running_system(tmp_path, **NO_GUARD) as system:
        system.start_crm(accounts=400, territories=4, seed=11)
        changes = RandomChanges(system, 11)
        killed = 0
        while killed < KILLS_OF_A_FULL_LOAD:
            killed += kill_after(system, "full_load", rng.uniform(*FULL_LOAD_SECONDS))
            changes.step()
        system.run_job("full_load")
        published = sync(system)
        system.start_service()
        system.wait_published()
        poll_and_expect(system, device_of_each_territory(system, changes.territories[:1]), published, limit=500)


def test_a_crash_between_the_two_stores_commits_is_caught_up(tmp_path: Path) -> None:
    with running_system(tmp_path, **NO_GUARD) as system:
        system.start_crm(accounts=60, territories=3, seed=3)
        changes = RandomChanges(system, 3)
        system.run_job("full_load")
        before = tmp_path / "before"
        before.mkdir()
        for path in tmp_path.glob("delta.sqlite*"):
            shutil.copy(path, before)
        for _ in range(2):
            for _ in range(5):
                changes.step()
            sync(system)
        # As if the store had never heard of the last two publications.
        for path in tmp_path.glob("delta.sqlite*"):
            path.unlink()
        for path in before.iterdir():
            shutil.copy(path, tmp_path)
        system.start_service()
        system.wait_published()
        devices = device_of_each_territory(system, changes.territories[:1])
        for device, _ in devices:
            device.poll(system.http, limit=50)
        published = sync(system)
        poll_and_expect(system, devices, published, limit=50)
