"""Stream mode, with the real job: a resident run that is killed again and again loses nothing."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.changes import RandomChanges
from tests.e2e.oracle import Oracle
from tests.e2e.steps import NO_GUARD, check_recompute, device_of_each_territory, poll_and_expect
from tests.e2e.system import System, running_system
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e

KILLS = 6


def test_a_stream_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(17)
    with running_system(tmp_path, SYNC_STREAM_POLL_SECONDS="0.2", **NO_GUARD) as system:
        system.start_crm(accounts=100, territories=3, seed=17)
        changes = RandomChanges(system, 17)
        system.run_job("full_load")
        system.start_service()
        system.wait_published()
        devices = device_of_each_territory(system, changes.territories)
        for number in range(KILLS):
            process = system.start_job("stream")
            before = published(system)
            account = next(record["Id"] for record in system.records("Account") if record["TerritoryId"])
            system.control("update", object="Account", id=account, fields={"AccountName": f"Clinic {number}"})
            system.control("clock", advance_seconds=3)
            # Once that is published it is streaming; then let it be caught anywhere in a sync.
            wait_until(partial(published_after, system, before), 120, "the stream publishes")
            changes.step()
            system.control("clock", advance_seconds=3)
            time.sleep(rng.uniform(0.0, 1.5))
            process.kill()
            system.wait_served()
            for device, _ in devices:
                device.poll(system.http, limit=50)
        system.environment["SYNC_STREAM_MINUTES"] = "0.1"
        printed = system.run_job("stream")
        assert "The stream ends: 0.1 minutes are over" in printed
        oracle = Oracle(system)
        check_recompute(tmp_path)
        poll_and_expect(system, devices, oracle, limit=50)


def published_after(system: System, seq: int) -> bool:
    return published(system) > seq


def published(system: System) -> int:
    return int(system.http.get(f"{system.service}/readyz").json()["publishedSeq"])
