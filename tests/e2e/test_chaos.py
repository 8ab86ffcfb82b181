"""Hours of operation with everything going wrong at once; at the end of each quiet period every device is right.

CI runs one seed of 160 steps. Longer, by hand (2 s a step, most of it pauses before retries):

    pytest tests/e2e/test_chaos.py --e2e-seeds random:20 --chaos-steps 120
    pytest tests/e2e/test_chaos.py --e2e-seeds 1 --chaos-steps 2000 --timeout 0
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from tests.e2e.changes import RandomChanges
from tests.e2e.oracle import Oracle
from tests.e2e.steps import (
    ScopedDevice,
    check_recompute,
    device_of_each_territory,
    kill_after,
    poll_and_expect,
)
from tests.e2e.system import JOB_SECONDS, System, running_system

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.e2e

STEPS_PER_PERIOD = 40
MOST_PERIODS = 20
RUNS_PER_PERIOD = 4
KILL_AFTER_SECONDS = (0.2, 8.0)
"""A run that meets no fault takes one or two; one that pauses before its retries, longer."""
SHORT = {"seconds": 1, "megabytes": 70}
DAMAGED_SHARE = 0.05
"""Of the steps, with one more damaged row."""
UNKNOWN_DELETION_SHARE = 0.03
"""Of the steps, with an entry of the Deleted Items list whose type nobody knows, and which names a live row."""
DAMAGED_VALUES = [
    ("Opportunity", "CloseDate", "31/31/2026"),
    ("Opportunity", "Revenue", "n/a"),
    ("Account", "ModifiedDate", ""),
    ("ModificationTracking", "ModifiedDate", "soon"),
    ("ModificationTracking", "EventName", ""),
    ("ModificationTracking", "ModificationNumber", "1.0000000"),
]
NEWEST_EVENTS = 20
OPERATIONS_PER_STEP = 15
"""The budget: what all runs together may cost the company's allotment, killed and failed ones included."""
OPERATIONS = [
    "*",
    "GetServerTime",
    "AccountQueryPage",
    "ContactQueryPage",
    "ModificationTrackingQueryPage",
    "OrderQueryPage",
]


def test_faults_kills_late_and_missing_events_lose_no_row(
    tmp_path: Path, e2e_seed: int, pytestconfig: pytest.Config
) -> None:
    steps = pytestconfig.getoption("--chaos-steps")
    period = max(STEPS_PER_PERIOD, steps // MOST_PERIODS)
    rng = random.Random(e2e_seed)
    with running_system(tmp_path) as system:
        system.start_crm(accounts=120, territories=4, seed=e2e_seed)
        changes = RandomChanges(system, e2e_seed, silent_share=0.25, late_share=0.2, renamed_share=0.3)
        system.run_job("full_load")
        loaded = system.operations()
        system.start_service()
        system.wait_published()
        devices = device_of_each_territory(system, changes.territories)
        for done in range(0, steps, period):
            stormy(system, changes, devices, rng, min(period, steps - done))
            quiet(system, devices, tmp_path)
        spent = system.operations() - loaded
        logger.info("seed %d: %d steps, %d operations to load, %d after", e2e_seed, steps, loaded, spent)
        assert spent <= OPERATIONS_PER_STEP * steps


def stormy(system: System, changes: RandomChanges, devices: list[ScopedDevice], rng: random.Random, steps: int) -> None:
    """Changes, told and untold, with runs among them that meet faults or are killed; they may fail, never lie."""
    for step in range(steps):
        changes.step()
        system.control("clock", advance_seconds=rng.choice([0, 1, 2, 30, 400, 400, -900]))
        if rng.random() < DAMAGED_SHARE:
            damage_row(system, rng)
        if rng.random() < UNKNOWN_DELETION_SHARE:
            row_id = rng.choice(Oracle(system).ids("account"))
            system.control("deleted-items", type="Gadget", object_id=row_id)
        if step % max(1, steps // RUNS_PER_PERIOD) == 0:
            for _ in range(rng.randint(0, 3)):
                order_fault(system, rng)
            if rng.random() < 0.5:
                kill_after(system, rng.choice(["sync", "sweep"]), rng.uniform(*KILL_AFTER_SECONDS))
            else:
                system.start_job("sync").wait(timeout=JOB_SECONDS)
            for device, _ in devices:
                device.poll(system.http, limit=rng.choice([10, 1000]))


def damage_row(system: System, rng: random.Random) -> None:
    """A row, or an event of the log, that spoils each answer it is in until the period's end."""
    how = rng.choice(["escape", "control", "value"])
    if how == "value":
        service, field, text = rng.choice(DAMAGED_VALUES)
    else:
        service, field, text = rng.choice(["Account", "Contact", "Order"]), None, ""
    records = sorted(system.records(service), key=lambda record: str(record["ModifiedDate"]))
    row_id = rng.choice(records[-NEWEST_EVENTS:] if service == "ModificationTracking" else records)["Id"]
    spoiled = {"field": field, "text": text} if field else {}
    system.control("damage", id=row_id, how=how, **spoiled)


def order_fault(system: System, rng: random.Random) -> None:
    """Any code of the CRM's table as often as any way to spoil an answer."""
    offered = system.http.get(f"http://127.0.0.1:{system.crm_port}/control/faults").json()
    kind = rng.choice(offered["kinds"]) if rng.random() < 0.6 else "code"
    code = {"code": rng.choice(offered["codes"])} if kind == "code" else {}
    system.control("faults", operation=rng.choice(OPERATIONS), kind=kind, times=rng.randint(1, 3), **code, **SHORT)


def quiet(system: System, devices: list[ScopedDevice], home: Path) -> None:
    """The faults end; a census finds what the CRM never told."""
    answer = system.http.delete(f"http://127.0.0.1:{system.crm_port}/control/faults")
    assert answer.status_code == 200, answer.text
    system.control("damage", lifted=True)
    system.control("clock", advance_seconds=3)
    truth = Oracle(system)
    system.run_job("census")
    check_recompute(home)
    poll_and_expect(system, devices, truth, limit=500)
