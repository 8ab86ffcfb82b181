from __future__ import annotations

import pytest

from tests.simulator.conftest import Simulator


def test_an_import_writes_one_time_stamp_and_one_event_per_row(simulator: Simulator) -> None:
    known = [row["Id"] for row in simulator.records("Account")[:2]]
    rows = [{"Id": id_, "Route": "R9"} for id_ in known] + [{"AccountName": f"New {n}"} for n in range(300)]
    result = simulator.control("import", object="Account", rows=rows)
    ids = result["touched"]["Account"]
    assert len(ids) == len(set(ids)) == result["events"] == 302
    assert {row["ModifiedDate"] for row in simulator.records("Account", ids=",".join(ids))} == {result["server_time"]}
    assert {event["ModifiedDate"] for event in simulator.events()} == {result["server_time"]}
    names = [event["EventName"] for event in simulator.events()]
    assert names == ["WriteRecordUpdated"] * 2 + ["WriteRecordNew"] * 300


def test_an_import_can_write_no_events(simulator: Simulator) -> None:
    simulator.control("import", object="Contact", rows=[{"ContactLastName": "New"}], events=False)
    assert simulator.events() == []


@pytest.mark.parametrize(("stamps", "number_moves", "date_moves"), [("all", 1, 1), ("number", 1, 0), ("none", 0, 0)])
def test_an_import_can_keep_the_time_stamps(
    simulator: Simulator, stamps: str, number_moves: int, date_moves: int
) -> None:
    before = simulator.records("Account")[0]
    row = {"Id": before["Id"], "Route": "by procedure"}
    simulator.control("import", object="Account", rows=[row], stamps=stamps, events=False)
    after = simulator.record("Account", before["Id"])
    assert after["Route"] == "by procedure"
    assert int(after["ModId"]) - int(before["ModId"]) == number_moves
    assert (after["ModifiedDate"] > before["ModifiedDate"]) == bool(date_moves)


def test_an_import_with_a_bad_row_changes_nothing(simulator: Simulator) -> None:
    good = {"Id": simulator.records("Account")[0]["Id"], "Route": "R1"}
    version = simulator.crm.version
    for bad in (
        {"Id": "nowhere", "Route": "x"},
        {"Route": "a new row without a name"},
        {"AccountName": "x", "ModId": 1},
    ):
        simulator.control("import", 404 if "Id" in bad else 400, object="Account", rows=[good, bad])
    assert simulator.crm.version == version


def test_a_realignment_by_import_gives_all_accounts_the_same_time_stamp(simulator: Simulator) -> None:
    body = {"from": "T001", "to": "T002", "share": 1, "by": "import", "events": False}
    moved = simulator.control("realign", **body)["touched"]["Account"]
    rows = simulator.records("Account", ids=",".join(moved))
    assert {row["Territory"] for row in rows} == {"T002"}
    assert len({row["ModifiedDate"] for row in rows}) == 1
    assert simulator.events() == []


def test_the_batch_tools_save_and_delete_each_row_separately(simulator: Simulator) -> None:
    ids = [row["Id"] for row in simulator.records("Activity")[:5]]
    simulator.control("batch/update", object="Activity", ids=ids, fields={"Status": "Deferred"})
    assert {row["Status"] for row in simulator.records("Activity", ids=",".join(ids))} == {"Deferred"}
    simulator.control("batch/delete", object="Activity", ids=ids, events="delete")
    assert simulator.records("Activity", ids=",".join(ids)) == []
    assert [event[:3] for event in simulator.event_list()] == [
        (name, "Activity", id_) for name in ("WriteRecordUpdated", "DeleteRecord") for id_ in ids
    ]
    assert set(ids) <= set(simulator.crm.deleted_items)


def test_the_assignment_engine_flags_accounts_first_and_assigns_them_later(simulator: Simulator) -> None:
    account = simulator.records("Account", territory=territory(simulator, "T001"))[0]["Id"]
    owner = simulator.records("User")[3]["Id"]
    simulator.control("assign", ids=[account], to="T002", owner=owner, after_seconds=600)
    flagged = simulator.record("Account", account)
    assert (flagged["Territory"], flagged["ReassignOwnerFlag"], flagged["AssignmentStatus"]) == (
        "T001",
        "true",
        "Submitted",
    )
    assert flagged["LastAssignmentSubmissionDate"] == flagged["ModifiedDate"]
    simulator.control("clock", advance_seconds=599)
    assert len(simulator.events()) == 1
    simulator.control("clock", advance_seconds=1)
    done = simulator.record("Account", account)
    assert (done["Territory"], done["OwnerId"], done["ReassignOwnerFlag"]) == ("T002", owner, "false")
    assert done["LastAssignmentCompletionDate"] == done["ModifiedDate"] > flagged["ModifiedDate"]
    assert simulator.event_list() == [("WriteRecordUpdated", "Account", account, None)] * 2


@pytest.mark.parametrize(("events", "written"), [("both", 2), ("first", 1), ("second", 1), ("none", 0)])
def test_assignment_can_wait_for_a_call_and_write_no_events(simulator: Simulator, events: str, written: int) -> None:
    touched = simulator.control("assign", **{"from": "T001", "share": 0.01, "to": "T003", "events": events})["touched"]
    simulator.control("clock", advance_seconds=86_400)
    assert simulator.http.get("/control/summary").json()["waiting"]["assignments"] == 1
    assert simulator.control("assign/finish")["touched"] == touched
    assert simulator.control("assign/finish")["touched"] == {}
    assert {row["Territory"] for row in simulator.records("Account", ids=touched["Account"][0])} == {"T003"}
    assert len(simulator.events()) == written


def test_the_assignment_engine_skips_accounts_deleted_in_the_meantime(simulator: Simulator) -> None:
    account = simulator.records("Account")[0]["Id"]
    simulator.control("assign", ids=[account], to="T002", after_seconds=10)
    simulator.control("delete", object="Account", id=account)
    simulator.control("clock", advance_seconds=10)
    assert [event[0] for event in simulator.event_list()] == ["WriteRecordUpdated", "PreDeleteRecord", "DeleteRecord"]
    assert simulator.crm.assignments == []


def territory(simulator: Simulator, name: str) -> str:
    return next(str(row["Id"]) for row in simulator.records("Territory") if row["TerritoryName"] == name)
