"""The end-to-end test once more, with real processes, on PostgreSQL; and what only that has: replicas and restarts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.changes import RandomChanges
from tests.e2e.device import Device
from tests.e2e.steps import NO_GUARD, check_recompute, kill_after, run_random_steps, sync
from tests.e2e.system import BIN, System, answers, running_system
from tests.ports import free_port
from tests.postgres.cluster import Cluster, new_location
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e

# Fewer than on SQLite: all but the store is the same.
STEPS = 40
SYNC_SHARE = 0.2
ROUNDS = 6


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.destroy()


def test_every_device_holds_exactly_its_territories_after_each_poll(tmp_path: Path, e2e_seed: int) -> None:
    store = str(new_location("postgres", tmp_path))
    run_random_steps(tmp_path, e2e_seed, steps=STEPS, sync_share=SYNC_SHARE, DELTA_STORE_URL=store)
    assert not (tmp_path / "delta.sqlite").exists()


def test_two_services_and_a_pipeline_go_on_through_crashes_of_the_server_and_of_syncs(
    tmp_path: Path, cluster: Cluster
) -> None:
    rng = random.Random(5)
    with running_system(tmp_path, DELTA_STORE_URL=cluster.url(), **NO_GUARD) as system:
        system.start_crm(accounts=80, territories=4, seed=5)
        changes = RandomChanges(system, 5)
        system.run_job("full_load")
        system.start_service()
        second = start_second_service(system)
        system.wait_published()
        devices = [
            Device(t, system.service, f"/v1/territories/{t}/delta", system.token(t)) for t in changes.territories
        ]
        for _ in range(ROUNDS):
            for _ in range(rng.randint(1, 4)):
                changes.step()
            system.control("clock", advance_seconds=3)
            if rng.random() < 0.5:
                kill_after(system, "sync", rng.uniform(0.1, 2.0))
            else:
                job = system.start_job("sync")
                cluster.stop()
                cluster.start()
                job.wait(timeout=120)
            published = sync(system)
            check_recompute(tmp_path)
            system.wait_served()
            for device in devices:
                device.base = rng.choice([system.service, second])
                wait_until(partial(device.poll_if_answered, system.http, limit=20), 60, "an answer after the crash")
                device.expect(published.view({device.name}))


def start_second_service(system: System) -> str:
    port = free_port()
    system.start_process("second", [BIN / "python", "-m", "delta_service", "--port", port])
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(f"{url}/readyz"), 30, "the second service is ready")
    return url
