"""kill -9 at random moments: the next run puts everything right without a person, and no device ever ends wrong."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.changes import RandomChanges
from tests.e2e.device import Device
from tests.e2e.system import System, running_system
from tests.e2e.test_random_steps import NO_GUARD, check_recompute, sync

pytestmark = pytest.mark.e2e

KILLS = 30
KILLS_BETWEEN_FULL_SYNCS = 3


def test_a_sync_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    with running_system(tmp_path, **NO_GUARD) as system:
        system.start_crm(accounts=120, territories=4, seed=7)
        changes = RandomChanges(system, 7)
        started = time.monotonic()
        system.run_job("full_load")
        usual_seconds = time.monotonic() - started
        system.start_service()
        system.wait_published()
        devices = [
            (Device(t, system.service, f"/v1/territories/{t}/delta", system.token(t)), {t}) for t in changes.territories
        ]
        killed = 0
        while killed < KILLS:
            for _ in range(KILLS_BETWEEN_FULL_SYNCS):
                for _ in range(rng.randint(1, 4)):
                    changes.step()
                system.control("clock", advance_seconds=3)
                killed += kill_after(system, "sync", rng.uniform(0.3, 1.0) * usual_seconds)
                if rng.random() < 0.3:
                    system.kill("service")
                    system.start_service()
                for device, _ in devices:
                    device.poll(system.http, limit=50)
            published = sync(system)
            check_recompute(tmp_path)
            system.wait_served()
            for device, scope in devices:
                device.poll(system.http, limit=50)
                device.expect(published.view(scope))


def test_a_full_load_killed_again_and_again_ends_complete(tmp_path: Path) -> None:
    rng = random.Random(11)
    with running_system(tmp_path, **NO_GUARD) as system:
        system.start_crm(accounts=400, territories=4, seed=11)
        changes = RandomChanges(system, 11)
        for _ in range(4):
            kill_after(system, "full_load", rng.uniform(2.0, 7.0))
            changes.step()
        system.run_job("full_load")
        published = sync(system)
        system.start_service()
        system.wait_published()
        territory = changes.territories[0]
        device = Device("new", system.service, f"/v1/territories/{territory}/delta", system.token(territory))
        device.poll(system.http, limit=500)
        device.expect(published.view({territory}))


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
        territory = changes.territories[0]
        device = Device("old", system.service, f"/v1/territories/{territory}/delta", system.token(territory))
        device.poll(system.http, limit=50)
        published = sync(system)
        system.wait_served()
        device.poll(system.http, limit=50)
        device.expect(published.view({territory}))


def kill_after(system: System, job: str, seconds: float) -> int:
    """1 if the job was still running then."""
    process = system.start_job(job)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return 0
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return 1
