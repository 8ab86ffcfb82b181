"""Answers that lack rows, hosts whose clock is wrong, values that cannot be read: nobody loses anything by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.device import Device
from tests.e2e.steps import NO_GUARD, check_recompute, sync
from tests.e2e.system import PROJECT, System, running_system

pytestmark = pytest.mark.e2e


@pytest.fixture
def system(fresh_system: System) -> System:
    """One for each test: they count what devices and the CRM were asked for."""
    return fresh_system


def test_one_empty_answer_to_a_query_by_id_costs_no_device_a_row(system: System) -> None:
    accounts = [record for record in system.records("Account") if record["TerritoryId"]][:8]
    territories = {str(record["TerritoryId"]) for record in accounts}
    device = Device("all", system.service, "/v1/delta", system.token(*sorted(territories)))
    device.poll(system.http, limit=1000)
    for account in accounts:
        system.control("update", object="Account", id=account["Id"], fields={"Status": "after the silence"})
    system.control("faults", operation="AccountQueryPage", kind="no_rows", times=1)
    published = sync(system)
    system.wait_served()
    deletes = device.operations
    device.poll(system.http, limit=1000)
    device.expect(published.view(territories))
    assert device.operations - deletes == len(accounts)
    check_recompute(system.home)


def test_no_answer_at_all_about_accounts_keeps_them_and_publishes_the_rest(system: System) -> None:
    account = next(record for record in system.records("Account") if record["TerritoryId"])
    territory = str(account["TerritoryId"])
    contact = next(record for record in system.records("Contact") if record["AccountId"] == account["Id"])
    device = Device("one", system.service, "/v1/delta", system.token(territory))
    system.control("update", object="Account", id=account["Id"], fields={"Status": "not heard"})
    system.control("update", object="Contact", id=contact["Id"], fields={"JobTitle": "heard"})
    system.control("faults", operation="AccountQueryPage", kind="no_rows", times=1000)
    sync(system)
    system.wait_served()
    device.poll(system.http, limit=1000)
    assert device.rows["contact"][contact["Id"]]["jobTitle"] == "heard"
    assert device.rows["account"][account["Id"]]["status"] != "not heard"
    system.http.delete(f"http://127.0.0.1:{system.crm_port}/control/faults")
    published = sync(system)
    system.wait_served()
    device.poll(system.http, limit=1000)
    device.expect(published.view({territory}))


def test_a_witness_costs_no_operation(system: System) -> None:
    """A sync that reads one account, and one that reads forty-nine, cost the same."""
    accounts = [str(record["Id"]) for record in system.records("Account")][:49]
    spent = []
    for row_ids in (accounts[:1], accounts):
        for row_id in row_ids:
            system.control("update", object="Account", id=row_id, fields={"Status": f"read with {len(row_ids)}"})
        before = system.operations()
        sync(system)
        spent.append(system.operations() - before)
    assert spent[0] == spent[1]


CLOCK_AHEAD = """
from datetime import timedelta
from orchestration.pipeline import warehouse
right = warehouse.utc_now
warehouse.utc_now = lambda: right() + timedelta(hours=1)
"""


@pytest.fixture
def loaded_ahead(tmp_path: Path) -> Iterator[System]:
    """Loaded while the host's clock was an hour ahead; it is right by now."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK_AHEAD)
    with running_system(tmp_path, **NO_GUARD) as made:
        made.start_crm(accounts=60, territories=3, seed=5)
        made.environment["PYTHONPATH"] = f"{tmp_path / 'clock'}:{PROJECT}"
        # In a process of its own: a forked one has read its start-up code before.
        made.run_job_by_command("full_load")
        del made.environment["PYTHONPATH"]
        made.start_service()
        made.wait_published()
        yield made


@pytest.mark.parametrize("events", [True, False])
def test_changes_after_a_load_by_a_clock_that_was_ahead_arrive(loaded_ahead: System, events: bool) -> None:
    system = loaded_ahead
    territories = {str(record["Id"]) for record in system.records("Territory")}
    device = Device("all", system.service, "/v1/delta", system.token(*sorted(territories)))
    device.poll(system.http, limit=1000)
    edited, moved, deleted = [record for record in system.records("Account") if record["TerritoryId"]][:3]
    target = next(territory for territory in sorted(territories) if territory != moved["TerritoryId"])
    system.control("update", object="Account", id=edited["Id"], fields={"Status": "edited"})
    system.control("update", object="Account", id=moved["Id"], fields={"TerritoryId": target})
    system.control("delete", object="Account", id=deleted["Id"])
    if not events:
        for record in (edited, moved, deleted):
            system.control("events/remove", object_id=record["Id"])
    published = sync(system)
    if not events:
        system.run_job("census")
    system.wait_served()
    device.poll(system.http, limit=1000)
    device.expect(published.view(territories))
    assert deleted["Id"] not in device.rows["account"]
    check_recompute(system.home)


def test_an_opportunity_that_moves_with_a_bad_date_leaves_and_enters(system: System) -> None:
    opportunity = min(system.records("Opportunity"), key=lambda record: str(record["Id"]))
    accounts = {str(record["Id"]): record for record in system.records("Account")}
    source = accounts[opportunity["AccountId"]]["TerritoryId"]
    account = next(a for a in accounts.values() if a["TerritoryId"] not in (source, None))
    territories = {str(source), str(account["TerritoryId"])}
    devices = {t: Device(t, system.service, "/v1/delta", system.token(t)) for t in sorted(territories)}
    for device in devices.values():
        device.poll(system.http, limit=1000)
    fields = {"AccountId": account["Id"], "OpportunityName": "moved"}
    system.control("update", object="Opportunity", id=opportunity["Id"], fields=fields)
    # Its Id is the first, so the first date of the answer is its own; a page with damage in it is read twice.
    system.control("faults", operation="OpportunityQueryPage", kind="bad_value", field="CloseDate", times=2)
    published = sync(system)
    system.wait_served()
    for territory, device in devices.items():
        device.poll(system.http, limit=1000)
        device.expect(published.view({territory}))
    assert opportunity["Id"] in devices[str(account["TerritoryId"])].rows["opportunity"]
