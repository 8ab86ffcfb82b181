from __future__ import annotations

import pytest

from crm_simulator.crm import DEFAULT_TRACKED
from tests.simulator.conftest import Record, Simulator, make_simulator


def contact_with_two_accounts(simulator: Simulator) -> Record:
    return next(row for row in simulator.records("Contact") if len(row["accounts"]) == 2)


def children_of(simulator: Simulator, account: str) -> dict[str, list[str]]:
    keys = {"Opportunity": "AccountId", "Activity": "AccountId", "Order": "BusinessAccountId"}
    return {n: [r["Id"] for r in simulator.records(n) if r[key] == account] for n, key in keys.items()}


def busy_account(simulator: Simulator) -> str:
    """An account with rows of every kind below it."""
    ids = (str(row["Id"]) for row in simulator.records("Account"))
    return next(account for account in ids if all(children_of(simulator, account).values()))


def test_an_update_changes_modification_number_and_date_and_writes_one_event(simulator: Simulator) -> None:
    before = simulator.records("Account")[0]
    simulator.control("clock", advance_seconds=90)
    result = simulator.control("update", object="Account", id=before["Id"], fields={"AccountName": "Neu"})
    after = simulator.record("Account", before["Id"])
    assert after["AccountName"] == "Neu"
    assert int(after["ModId"]) == int(before["ModId"]) + 1
    assert after["ModifiedDate"] == result["server_time"] == "2026-05-28T20:28:10Z"
    assert result["touched"] == {"Account": [before["Id"]]}
    [event] = simulator.events()
    assert (event["EventName"], event["ObjectName"], event["ObjectId"]) == (
        "WriteRecordUpdated",
        "Account",
        before["Id"],
    )
    assert event["ModifiedDate"] == after["ModifiedDate"]
    assert event["ModificationNumber"] == after["ModId"]
    assert event["ChildName"] is None


def test_an_update_without_events_still_changes_the_date(simulator: Simulator) -> None:
    before = simulator.records("Contact")[0]
    simulator.control("update", object="Contact", id=before["Id"], fields={"JobTitle": "x"}, events=False)
    after = simulator.record("Contact", before["Id"])
    assert after["ModifiedDate"] > before["ModifiedDate"]
    assert simulator.events() == []


def test_an_event_can_be_written_after_others_with_later_time_stamps(simulator: Simulator) -> None:
    one, other = (row["Id"] for row in simulator.records("Account")[:2])
    simulator.control("update", object="Account", id=one, fields={"Route": "1"})
    simulator.control("update", object="Account", id=other, fields={"Route": "1"}, event_age_seconds=30)
    stamps = [event["ModifiedDate"] for event in simulator.events()]
    assert stamps == ["2026-05-28T20:26:40Z", "2026-05-28T20:26:10Z"]


def test_an_inserted_contact_has_modification_number_zero_and_a_link_to_its_account(simulator: Simulator) -> None:
    account = simulator.records("Account")[0]["Id"]
    fields = {"ContactLastName": "O'Neil & Söhne", "AccountId": account}
    [id_] = [simulator.control("insert", object="Contact", fields=fields)["touched"]["Contact"][0]]
    contact = simulator.record("Contact", id_)
    assert contact["ModId"] == "0"
    assert contact["accounts"] == [account]
    assert simulator.event_list() == [("WriteRecordNew", "Contact", id_, None)]


def test_a_new_primary_account_is_added_to_the_links_and_the_old_one_is_kept(simulator: Simulator) -> None:
    contact = simulator.records("Contact")[0]
    other = next(r["Id"] for r in simulator.records("Account") if r["Id"] not in contact["accounts"])
    simulator.control("update", object="Contact", id=contact["Id"], fields={"AccountId": other})
    after = simulator.record("Contact", contact["Id"])
    assert after["AccountId"] == other
    assert after["accounts"] == sorted([*contact["accounts"], other])


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("both", ["PreDeleteRecord", "DeleteRecord"]),
        ("delete", ["DeleteRecord"]),
        ("predelete", ["PreDeleteRecord"]),
        ("none", []),
    ],
)
def test_deleting_an_account_deletes_its_children_without_events(
    simulator: Simulator, events: str, expected: list[str]
) -> None:
    account = busy_account(simulator)
    owned = children_of(simulator, account)
    contacts = [r["Id"] for r in simulator.records("Contact") if account in r["accounts"]]
    result = simulator.control("delete", object="Account", id=account, events=events)
    assert [event["EventName"] for event in simulator.events()] == expected
    assert {(e["ObjectName"], e["ObjectId"]) for e in simulator.events()} <= {("Account", account)}
    assert result["touched"] == {"Account": [account]} | owned
    assert children_of(simulator, account) == {name: [] for name in owned}
    assert list(simulator.crm.deleted_items) == [account]
    for id_ in contacts:
        contact = simulator.record("Contact", id_)
        assert account not in contact["accounts"]


def test_restoring_an_account_restores_only_children_deleted_with_it(simulator: Simulator) -> None:
    account = busy_account(simulator)
    owned = children_of(simulator, account)
    linked = {r["Id"]: r["accounts"] for r in simulator.records("Contact")}
    gone = owned["Activity"].pop()
    simulator.control("delete", object="Activity", id=gone)
    simulator.control("delete", object="Account", id=account)
    simulator.control("restore", object="Account", id=account)
    assert children_of(simulator, account) == owned
    assert {r["Id"]: r["accounts"] for r in simulator.records("Contact")} == linked
    assert simulator.event_list()[-1] == ("RestoreRecord", "Account", account, None)
    assert list(simulator.crm.deleted_items) == [gone]
    simulator.control("restore", object="Activity", id=gone)
    assert gone in children_of(simulator, account)["Activity"]


def test_a_child_cannot_be_restored_before_its_account(simulator: Simulator) -> None:
    account = busy_account(simulator)
    activity, taken_along = children_of(simulator, account)["Activity"][0], children_of(simulator, account)["Order"][0]
    simulator.control("delete", object="Activity", id=activity)
    simulator.control("delete", object="Account", id=account)
    for name, id_ in (("Activity", activity), ("Order", taken_along)):
        assert "restore that first" in simulator.control("restore", 400, object=name, id=id_)["error"]


def test_a_merge_of_accounts_moves_the_children_of_the_duplicate_without_events(simulator: Simulator) -> None:
    duplicate = busy_account(simulator)
    survivor = next(r["Id"] for r in simulator.records("Account") if r["Id"] != duplicate)
    owned = children_of(simulator, duplicate)
    before = {n: {r["Id"]: r for r in simulator.records(n)} for n in (*owned, "Contact")}
    contacts = [id_ for id_, row in before["Contact"].items() if duplicate in row["accounts"]]
    simulator.control("clock", advance_seconds=60)
    simulator.control("merge", object="Account", survivor=survivor, duplicate=duplicate)
    assert simulator.event_list() == [("MergeRecords", "Account", survivor, duplicate)]
    assert simulator.find_record("Account", duplicate) is None
    assert list(simulator.crm.deleted_items) == [duplicate]
    for name, ids in owned.items():
        assert set(ids) <= set(children_of(simulator, survivor)[name])
        for id_ in ids:
            after = simulator.record(name, id_)
            assert (after["ModId"], after["ModifiedDate"]) == (
                before[name][id_]["ModId"],
                before[name][id_]["ModifiedDate"],
            )
    for id_ in contacts:
        after = simulator.record("Contact", id_)
        old = before["Contact"][id_]
        assert set(after["accounts"]) == {survivor if a == duplicate else a for a in old["accounts"]}
        assert after["AccountId"] == (survivor if old["AccountId"] == duplicate else old["AccountId"])
        assert after["ModId"] == old["ModId"]


def test_a_merge_can_be_logged_as_an_update_and_a_delete(simulator: Simulator) -> None:
    survivor, duplicate = (row["Id"] for row in simulator.records("Account")[:2])
    simulator.control("merge", object="Account", survivor=survivor, duplicate=duplicate, told_as="update_and_delete")
    assert simulator.event_list() == [
        ("WriteRecordUpdated", "Account", survivor, None),
        ("PreDeleteRecord", "Account", duplicate, None),
        ("DeleteRecord", "Account", duplicate, None),
    ]


def test_a_delete_and_a_restore_can_write_an_event_for_each_child(simulator: Simulator) -> None:
    account = busy_account(simulator)
    owned = [("Opportunity", id_) for id_ in children_of(simulator, account)["Opportunity"]]
    owned += [("Activity", id_) for id_ in children_of(simulator, account)["Activity"]]
    for action, event in (("delete", "DeleteRecord"), ("restore", "RestoreRecord")):
        simulator.control(action, object="Account", id=account, child_events=True)
        told = [(e["ObjectName"], e["ObjectId"]) for e in simulator.events() if e["EventName"] == event]
        assert sorted(told) == sorted([*owned, ("Account", account)])


def test_a_merge_of_contacts_moves_activities_opportunities_and_links(simulator: Simulator) -> None:
    activity = next(r for r in simulator.records("Activity") if r["PrimaryContactId"])
    duplicate = simulator.record("Contact", activity["PrimaryContactId"])
    survivor = next(r for r in simulator.records("Contact") if not set(r["accounts"]) & set(duplicate["accounts"]))
    simulator.control("merge", object="Contact", survivor=survivor["Id"], duplicate=duplicate["Id"])
    after = simulator.record("Contact", survivor["Id"])
    assert set(after["accounts"]) == set(survivor["accounts"]) | set(duplicate["accounts"])
    assert not any(r["PrimaryContactId"] == duplicate["Id"] for r in simulator.records("Activity"))
    assert not any(r["KeyContactId"] == duplicate["Id"] for r in simulator.records("Opportunity"))
    assert not any(r["PrimaryContactId"] == duplicate["Id"] for r in simulator.records("Account"))
    moved = simulator.record("Activity", activity["Id"])
    assert (moved["PrimaryContactId"], moved["ModId"]) == (survivor["Id"], activity["ModId"])
    assert simulator.event_list() == [("MergeRecords", "Contact", survivor["Id"], duplicate["Id"])]


@pytest.mark.parametrize("sides", ["both", "contact", "account", "none"])
def test_a_link_writes_events_for_the_requested_sides(simulator: Simulator, sides: str) -> None:
    contact = simulator.records("Contact")[0]
    account = next(r for r in simulator.records("Account") if r["Id"] not in contact["accounts"])
    ends = {"contact": contact["Id"], "account": account["Id"]}
    simulator.control("link", **ends, sides=sides)
    after = simulator.record("Contact", contact["Id"])
    assert account["Id"] in after["accounts"]
    assert (after["ModId"], after["AccountId"]) == (contact["ModId"], contact["AccountId"])
    simulator.control("unlink", **ends, sides=sides)
    assert simulator.record("Contact", contact["Id"]) == contact
    expected = []
    for event in ("Associate", "Dissociate"):
        if sides in ("both", "contact"):
            expected.append((event, "Contact", contact["Id"], account["Id"]))
        if sides in ("both", "account"):
            expected.append((event, "Account", account["Id"], contact["Id"]))
    assert simulator.event_list() == expected


def test_unlinking_the_primary_account_makes_another_account_primary(simulator: Simulator) -> None:
    contact = contact_with_two_accounts(simulator)
    [other] = set(contact["accounts"]) - {contact["AccountId"]}
    simulator.control("unlink", contact=contact["Id"], account=contact["AccountId"])
    after = simulator.record("Contact", contact["Id"])
    assert (after["AccountId"], after["accounts"]) == (other, [other])


def test_a_realignment_changes_only_accounts_with_one_event_each(simulator: Simulator) -> None:
    source, target = (r for r in simulator.records("Territory") if r["TerritoryName"] in ("T001", "T002"))
    before = {n: simulator.records(n) for n in ("Contact", "Opportunity", "Activity", "Order")}
    accounts = simulator.records("Account", territory=source["Id"])
    result = simulator.control("realign", **{"from": "T001", "to": target["Id"], "share": 0.5})
    moved = result["touched"]["Account"]
    assert len(moved) == result["events"] == round(len(accounts) / 2)
    assert {r["Id"] for r in accounts} - {r["Id"] for r in simulator.records("Account", territory=source["Id"])} == set(
        moved
    )
    assert all(r["Territory"] == "T002" for r in simulator.records("Account", ids=",".join(moved)))
    assert [e[:3] for e in simulator.event_list()] == [("WriteRecordUpdated", "Account", id_) for id_ in moved]
    for name in ("Contact", "Activity", "Order"):
        assert simulator.records(name) == before[name]


def test_the_seed_determines_which_accounts_are_realigned() -> None:
    def moved(seed: int) -> list[str]:
        body = {"from": "T001", "to": "T002", "share": 0.4, "seed": seed, "events": False}
        simulator = make_simulator()
        touched: list[str] = simulator.control("realign", **body)["touched"]["Account"]
        assert simulator.events() == []
        return touched

    assert moved(1) == moved(1) != moved(2)


def test_territories_and_orders_write_events_only_if_tracked() -> None:
    for tracked, expected in ((None, 0), (DEFAULT_TRACKED | {"Order", "Territory"}, 2)):
        simulator = make_simulator(tracked)
        for name, field in (("Order", "OrderNumber"), ("Territory", "Description")):
            simulator.control("update", object=name, id=simulator.records(name)[0]["Id"], fields={field: "new"})
        assert len(simulator.events()) == expected


def test_the_log_and_the_deleted_items_are_purged_after_thirty_days(simulator: Simulator) -> None:
    both = ["PreDeleteRecord", "DeleteRecord"]
    account = simulator.records("Account")[0]["Id"]
    simulator.control("delete", object="Account", id=account)
    simulator.control("clock", advance_seconds=29 * 86_400)
    log = simulator.crm.tables["ModificationTracking"]
    assert [log.get(record, "EventName") for record in log.records.values()][-2:] == both
    assert list(simulator.crm.deleted_items) == [account]
    simulator.control("clock", advance_seconds=2 * 86_400)
    assert not log.records
    assert "no longer" in simulator.control("restore", 400, object="Account", id=account)["error"]


@pytest.mark.parametrize(
    ("action", "status", "body"),
    [
        ("update", 404, {"object": "Account", "id": "nowhere", "fields": {}}),
        ("update", 400, {"object": "Acount", "id": "x", "fields": {}}),
        ("insert", 400, {"object": "Account", "fields": {"Nonsense": "x"}}),
        ("insert", 400, {"object": "Account", "fields": {}}),
        ("insert", 400, {"object": "Account", "fields": {"AccountName": "x", "TerritoryId": "nowhere"}}),
        ("insert", 400, {"object": "Account", "fields": {"AccountName": "\u0001"}}),
        ("insert", 400, {"object": "Opportunity", "fields": {"OpportunityName": "x", "Revenue": "much"}}),
        ("insert", 400, {"object": "Account", "fields": {"AccountName": "x", "ModId": "7"}}),
        ("delete", 404, {"object": "Contact", "id": "nowhere"}),
        ("restore", 404, {"object": "Contact", "id": "nowhere"}),
        ("realign", 404, {"from": "T001", "to": "T999", "share": 0.1}),
        ("realign", 400, {"to": "T001"}),
        ("realign", 400, {"from": "T001", "to": "T002", "share": 2}),
        ("link", 404, {"contact": "nowhere", "account": "nowhere"}),
        ("faults", 400, {"kind": "code"}),
        ("clock", 400, {"advance_seconds": -4e8}),
    ],
)
def test_an_impossible_change_returns_an_error_and_changes_nothing(
    simulator: Simulator, action: str, status: int, body: Record
) -> None:
    version = simulator.crm.version
    assert simulator.control(action, status, **body)["error"]
    assert simulator.crm.version == version


def test_the_summary_counts_the_rows_visible_to_each_territory(simulator: Simulator) -> None:
    summary = simulator.http.get("/control/summary").json()
    for territory in summary["territories"]:
        accounts = {r["Id"] for r in simulator.records("Account", territory=territory["id"])}
        assert territory["accounts"] == len(accounts)
        assert territory["contacts"] == sum(bool(accounts & set(r["accounts"])) for r in simulator.records("Contact"))
        assert territory["orders"] == sum(r["BusinessAccountId"] in accounts for r in simulator.records("Order"))
    assert summary["objects"]["Account"] == 60
    simulator.control("realign", **{"from": "T001", "to": "T002", "share": 1})
    rows = {t["name"]: t["accounts"] for t in simulator.http.get("/control/summary").json()["territories"]}
    assert rows["T001"] == 0


def test_writes_by_web_service_equal_changes_by_the_control_interface(simulator: Simulator) -> None:
    answer = simulator.write("Account", "Insert", "<AccountName>A &amp; B</AccountName><ModId>9</ModId>")
    [row] = answer.rows
    id_ = row["Id"] or ""
    assert row["ModId"] == "0"
    assert simulator.write("Account", "Update", f"<Id>{id_}</Id><Route>R7</Route>").rows[0]["ModId"] == "1"
    after = simulator.record("Account", id_)
    assert (after["AccountName"], after["Route"]) == ("A & B", "R7")
    stale = simulator.write("Account", "Update", f"<Id>{id_}</Id><ModId>0</ModId><Route>R8</Route>")
    assert "SBL-DAT-00523" in stale.fault
    simulator.write("Account", "Delete", f"<Id>{id_}</Id>")
    assert [event[0] for event in simulator.event_list()] == [
        "WriteRecordNew",
        "WriteRecordUpdated",
        "PreDeleteRecord",
        "DeleteRecord",
    ]
    assert "SBL-EAI-04378" in simulator.write("Account", "Update", f"<Id>{id_}</Id><Route/>").fault
    assert "SBL-EAI-04397" in simulator.write("Account", "Update", "<Route/>").fault


def test_a_written_value_of_the_wrong_type_becomes_empty(simulator: Simulator) -> None:
    opportunity = simulator.records("Opportunity")[0]["Id"]
    row = f"<Id>{opportunity}</Id><Revenue>much</Revenue><CloseDate>soon</CloseDate>"
    simulator.write("Opportunity", "Update", row + "<ReassignOwnerFlag>maybe</ReassignOwnerFlag>")
    after = simulator.record("Opportunity", opportunity)
    assert (after["Revenue"], after["CloseDate"], after["ReassignOwnerFlag"]) == (None, None, "false")


def test_events_can_be_added_to_and_removed_from_the_log(simulator: Simulator) -> None:
    fields = "<ObjectName>Account</ObjectName><ObjectId>x</ObjectId><EventName>Custom</EventName>"
    id_ = simulator.write("ModificationTracking", "Insert", fields).ids[0]
    assert simulator.query("ModificationTracking", "<EventName/>", f"[Id] = '{id_}'").rows == [{"EventName": "Custom"}]
    simulator.write("ModificationTracking", "Delete", f"<Id>{id_}</Id>")
    assert simulator.query("ModificationTracking", spec=f"[Id] = '{id_}'").rows == []
