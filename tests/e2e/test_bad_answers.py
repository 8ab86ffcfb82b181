"""Bad answers, records and clocks with real processes: each costs only itself, and devices get everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.steps import poll_and_expect
from tests.e2e.system import System
from tests.ui.desk import Desk
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e


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


def device_of(system: System, *territories: str) -> Device:
    return Device("d", system.service, "/v1/delta", system.token(*territories))


@pytest.mark.parametrize("by_link_row", [False, True])
@pytest.mark.parametrize("called", ["ContactRole", "AccountContact"])
def test_the_end_of_a_link_is_understood_by_whatever_name_it_is_told(
    system: System, called: str, by_link_row: bool
) -> None:
    territory_of = {r["Id"]: r["TerritoryId"] for r in system.records("Account")}
    contact, account = next(
        (r["Id"], account)
        for r in system.records("Contact")
        for account in r["accounts"]
        if account != r["AccountId"] and territory_of[account] not in (None, territory_of.get(r["AccountId"]))
    )
    territory = str(territory_of[account])
    device = device_of(system, territory)
    poll_and_expect(system, [(device, {territory})], Oracle(system), limit=1000)
    ends = {"contact": contact, "account": account, "sides": "account", "told_as": called, "by_link_row": by_link_row}
    system.control("unlink", **ends)
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    poll_and_expect(system, [(device, {territory})], Oracle(system), limit=1000)
    # That a new link is there, its contact's id says; the id of a row that is new, too, says nothing yet.
    system.control("link", **ends | {"by_link_row": False})
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    poll_and_expect(system, [(device, {territory})], Oracle(system), limit=1000)


@pytest.mark.parametrize("header", ["Sync-Published", "Sync-As-Of"])
def test_a_time_that_the_service_gave_is_a_cursor_that_loses_nothing(system: System, header: str) -> None:
    territory = next(str(r["TerritoryId"]) for r in system.records("Account") if r["TerritoryId"])
    fields = {"AccountName": "New", "TerritoryId": territory}
    new = system.control("insert", object="Account", fields=fields)["touched"]["Account"][0]
    reverted = next(r for r in system.records("Account") if r["TerritoryId"] == territory and r["Id"] != new)
    edit(system, reverted["Id"], "for a short time")
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    system.wait_served()
    device = device_of(system, territory)
    device.poll(system.http, limit=1000)
    authorization = {"Authorization": f"Bearer {device.token}"}
    answer = system.http.get(f"{system.service}/v1/delta", params={"since": device.cursor}, headers=authorization)
    system.control("delete", object="Account", id=new)
    edit(system, reverted["Id"], str(reverted["Status"]))
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    system.wait_served()
    told = system.http.get(
        f"{system.service}/v1/delta", params={"since": answer.headers[header]}, headers=authorization
    ).json()["account"]
    assert new in {row["rowId"] for row in told["deleted"]}
    shown = {row["accountId"]: row["status"] for row in told["insert"] + told["update"]}
    assert shown[reverted["Id"]] == reverted["Status"]


def test_an_event_that_is_stamped_an_hour_ahead_is_read_at_once(system: System) -> None:
    account = next(r["Id"] for r in system.records("Account") if r["TerritoryId"])
    system.control("clock", event_offset_seconds=3600)
    edit(system, account, "told ahead of time")
    system.control("clock", event_offset_seconds=0, advance_seconds=3)
    system.run_job("sync")
    assert status_on_a_device(system, account) == "told ahead of time"


def test_entries_of_the_deleted_items_list_that_say_too_little_cost_nothing_and_hide_nothing(system: System) -> None:
    gone, here = [r for r in system.records("Account") if r["TerritoryId"]][:2]
    scope = {str(gone["TerritoryId"]), str(here["TerritoryId"])}
    device = device_of(system, *scope)
    system.control("deleted-items", type="Gadget", object_id=here["Id"])
    system.control("delete", object="Account", id=gone["Id"], events="none")
    system.control("deleted-items", type="Account", object_id=gone["Id"], shown_date="yesterday")
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    poll_and_expect(system, [(device, scope)], Oracle(system), limit=1000)
    assert here["Id"] in device.rows["account"]


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
