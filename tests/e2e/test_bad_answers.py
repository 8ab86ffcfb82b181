"""Bad answers, records and clocks with real processes: each costs only itself, and devices get everything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.steps import NO_GUARD
from tests.e2e.system import System, running_system
from tests.ui.desk import Desk
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("home"), **NO_GUARD) as made:
        made.start_crm(accounts=60, territories=3, seed=5)
        made.run_job("full_load")
        made.start_service()
        made.wait_published()
        yield made


def accounts(system: System) -> list[str]:
    return Oracle(system).ids("account")


def status_on_a_device(system: System, account_id: str) -> str | None:
    territory = next(r["TerritoryId"] for r in system.records("Account") if r["Id"] == account_id)
    device = Device("d", system.service, f"/v1/territories/{territory}/delta", system.token(territory))
    system.wait_served()
    device.poll(system.http, limit=1000)
    found: str | None = device.rows["account"][account_id]["status"]
    return found


def edit(system: System, account_id: str, status: str, **options: object) -> None:
    system.control("update", object="Account", id=account_id, fields={"Status": status}, **options)


@pytest.mark.parametrize("how", ["escape", "control", "huge"])
def test_one_poison_record_costs_only_itself(system: System, how: str) -> None:
    poison, other = [r["Id"] for r in system.records("Account") if r["TerritoryId"]][:2]
    system.control("damage", id=poison, how=how)
    edit(system, poison, f"hidden by {how}")
    edit(system, other, f"beside {how}")
    system.control("clock", advance_seconds=3)
    before = system.operations()
    system.run_job("sync")
    spent = system.operations() - before
    assert status_on_a_device(system, other) == f"beside {how}"
    assert status_on_a_device(system, poison) != f"hidden by {how}"
    assert spent < 40
    system.control("damage", lifted=True)
    system.run_job("sweep")
    assert status_on_a_device(system, poison) == f"hidden by {how}"


def test_a_clock_that_steps_back_hides_no_event(system: System) -> None:
    account = next(r["Id"] for r in system.records("Account") if r["TerritoryId"])
    system.control("clock", advance_seconds=-900)
    edit(system, account, "after the step")
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    assert status_on_a_device(system, account) == "after the step"
    system.control("clock", advance_seconds=1000)


def test_a_clock_three_hours_ahead_once_hides_no_event(system: System) -> None:
    account = next(r["Id"] for r in system.records("Account") if r["TerritoryId"])
    # Both who ask for the time: the poll, and the reading of Deleted Items.
    system.control("faults", operation="GetServerTime", kind="wrong_clock", times=2)
    assert "does not move" in system.run_job("sync")
    edit(system, account, "after the leap")
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    assert status_on_a_device(system, account) == "after the leap"


@pytest.mark.parametrize(
    ("field", "text"), [("ModificationNumber", "1.0000000"), ("ModifiedDate", "soon"), ("EventName", "")]
)
def test_a_damaged_event_has_its_row_read(system: System, field: str, text: str) -> None:
    account = next(r["Id"] for r in system.records("Account") if r["TerritoryId"])
    edit(system, account, f"told by a damaged {field}")
    event = max(system.records("ModificationTracking"), key=lambda record: str(record["ModifiedDate"]))["Id"]
    system.control("damage", id=event, how="value", field=field, text=text)
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    assert status_on_a_device(system, account) == f"told by a damaged {field}"
    system.control("damage", lifted=True)


@pytest.mark.parametrize("code", ["SBL-DBC-00112", "SBL-EAI-04376"])
@pytest.mark.parametrize("operation", ["AccountQueryPage", "DeletedItemQueryPage"])
def test_one_fault_at_the_smallest_size_fails_no_run(system: System, operation: str, code: str) -> None:
    account = next(r["Id"] for r in system.records("Account") if r["TerritoryId"])
    edit(system, account, f"{operation} {code}")
    system.control("clock", advance_seconds=3)
    system.control("faults", operation=operation, kind="code", code=code, times=2)
    system.run_job("sync")
    assert status_on_a_device(system, account) == f"{operation} {code}"


def test_after_a_kill_of_everything_the_next_sync_comes_within_two_minutes(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    try:
        desk.start_crm(60, 3, 5)
        desk.start_dagster()
        wait_until(lambda: bool(desk.runs("sync")) and desk.runs("sync")[0].is_finished, 240, "the first sync")
        desk.control("faults", operation="ModificationTrackingQueryPage", kind="stall", seconds=60, times=1)
        edit(desk, accounts(desk)[0], "killed")
        known = {run.run_id for run in desk.runs("sync")}

        def begun() -> list[str]:
            return [
                run.run_id for run in desk.runs("sync") if run.run_id not in known and run.status.value == "STARTED"
            ]

        wait_until(lambda: bool(begun()), 120, "a sync has started")
        killed = begun()[0]
        for name in ("daemon", "ui", "code"):
            desk.kill(name)
        desk.start_dagster()
        wait_until(
            lambda: any(run.is_success and run.run_id not in known | {killed} for run in desk.runs("sync")),
            120,
            "the next sync after the restart",
        )
        assert any(run.run_id == killed and run.is_failure for run in desk.runs("sync"))
    finally:
        desk.stop()
