from __future__ import annotations

import pytest

from tests.simulator.conftest import Record, Simulator


def test_a_cancelled_delete_writes_its_first_event_and_keeps_the_record(simulator: Simulator) -> None:
    before = simulator.records("Account")[0]
    simulator.control("delete", object="Account", id=before["Id"], cancelled=True)
    assert simulator.event_list() == [("PreDeleteRecord", "Account", before["Id"], None)]
    assert simulator.record("Account", before["Id"]) == before
    assert not simulator.crm.deleted_items


@pytest.mark.parametrize("name", ["Account", "Contact", "Activity"])
@pytest.mark.parametrize("child", ["Note", "User", "Attachment", "Address"])
def test_events_of_a_child_use_an_ambiguous_object_name(simulator: Simulator, name: str, child: str) -> None:
    parent = simulator.records(name)[0]
    simulator.control("child", object=name, id=parent["Id"], child=child, child_id="c-1", event="WriteRecordNew")
    [event] = simulator.events()
    assert (event["EventName"], event["ObjectName"], event["ObjectId"]) == ("WriteRecordNew", name, parent["Id"])
    assert (event["ChildName"], event["ChildId"]) == (child, "c-1")
    assert simulator.record(name, parent["Id"]) == parent


def test_a_child_can_change_its_parent_without_changing_time_stamps(simulator: Simulator) -> None:
    before = simulator.records("Account")[0]
    simulator.control(
        "child", object="Account", id=before["Id"], child="Address", fields={"PrimaryBillToCity": "Elsewhere"}
    )
    assert simulator.record("Account", before["Id"]) == before | {"PrimaryBillToCity": "Elsewhere"}


def test_a_pick_list_writes_an_event_for_each_field_with_the_same_id(simulator: Simulator) -> None:
    simulator.control("picklist", fields=4)
    events = simulator.events()
    assert {event["ObjectName"] for event in events} == {"Picklist"}
    assert len(events) == 4
    assert len({event["ObjectId"] for event in events}) == 1


def test_events_with_unknown_names_or_equal_time_stamps_can_be_written(simulator: Simulator) -> None:
    simulator.control("events", object_name="Martian", object_id="m-1", event_name="Teleported", times=300)
    events = simulator.events()
    assert {(e["ObjectName"], e["ObjectId"], e["EventName"]) for e in events} == {("Martian", "m-1", "Teleported")}
    assert (len(events), len({event["Id"] for event in events})) == (300, 300)
    assert len({event["ModifiedDate"] for event in events}) == 1


def test_another_integration_can_delete_events(simulator: Simulator) -> None:
    one, other, third = (row["Id"] for row in simulator.records("Account")[:3])
    for id_ in (one, other, third):
        simulator.control("update", object="Account", id=id_, fields={"Route": "1"})
    simulator.control("events/remove", newest=1)
    simulator.control("events/remove", object_id=other)
    assert [event["ObjectId"] for event in simulator.events()] == [one]
    simulator.control("events/remove", ids=[simulator.events()[0]["Id"]])
    assert simulator.events() == []
    simulator.control("events/remove", 404, ids=["nowhere"])
    simulator.control("events/remove", 400)


LATE = [
    ("update", {"object": "Account", "fields": {"Route": "1"}}),
    ("delete", {"object": "Account", "events": "delete"}),
    ("child", {"object": "Account", "child": "Note"}),
]


@pytest.mark.parametrize(("action", "body"), LATE)
def test_events_of_any_change_can_have_an_earlier_time_stamp_than_earlier_events(
    simulator: Simulator, action: str, body: Record
) -> None:
    one, other = (row["Id"] for row in simulator.records("Account")[:2])
    simulator.control("update", object="Account", id=one, fields={"Route": "1"})
    simulator.control(action, id=other, event_age_seconds=30, **body)
    assert [event["ModifiedDate"] for event in simulator.events()] == ["2026-05-28T20:26:40Z", "2026-05-28T20:26:10Z"]


@pytest.mark.parametrize(("action", "body"), LATE)
def test_events_of_any_change_can_become_visible_later_than_their_time_stamp(
    simulator: Simulator, action: str, body: Record
) -> None:
    account = simulator.records("Account")[0]["Id"]
    stamp = simulator.control(action, id=account, event_delay_seconds=90, **body)["server_time"]
    simulator.control("clock", advance_seconds=89)
    assert simulator.query("ModificationTracking", spec=f"[ObjectId] = '{account}'").rows == []
    simulator.control("clock", advance_seconds=1)
    rows = simulator.query("ModificationTracking", "<ModifiedDate/>", f"[ObjectId] = '{account}'").rows
    assert rows == [{"ModifiedDate": stamp}]


def test_the_clock_of_events_can_differ_from_the_server_clock(simulator: Simulator) -> None:
    account = simulator.records("Account")[0]["Id"]
    simulator.control("clock", event_offset_seconds=-20)
    now = simulator.control("update", object="Account", id=account, fields={"Route": "1"})["server_time"]
    assert now == "2026-05-28T20:26:40Z"
    assert [event["ModifiedDate"] for event in simulator.events()] == ["2026-05-28T20:26:20Z"]
    after = simulator.record("Account", account)
    assert after["ModifiedDate"] == now


def test_the_purge_runs_on_request(simulator: Simulator) -> None:
    account = simulator.records("Account")[0]["Id"]
    simulator.control("delete", object="Account", id=account)
    simulator.control("clock", advance_seconds=31 * 86_400, purge=False)
    assert len(simulator.events()) == 2
    assert simulator.control("purge") == {"events": 0, "deleted_items": 0}


def test_the_purge_can_remove_younger_events(simulator: Simulator) -> None:
    simulator.control("picklist")
    simulator.control("clock", advance_seconds=3600)
    simulator.control("picklist", fields=1)
    assert simulator.control("purge", older_than_days=1 / 48)["events"] == 1
