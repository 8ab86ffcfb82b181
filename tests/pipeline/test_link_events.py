"""Events about a link under the names and ids that a pod may use: both ends are read from the side that lists it."""

from __future__ import annotations

import pytest

from tests.pipeline.bench import Bench


def links(bench: Bench) -> dict[str, list[str]]:
    rows = bench.query(
        "SELECT row_id, list(parent_id ORDER BY parent_id) FROM snapshot.contact_link WHERE live GROUP BY 1"
    )
    return {str(row_id): parents for row_id, parents in rows}


def child_event(bench: Bench, name: str, child_name: str, child_id: str) -> None:
    bench.event(name, "Account", "B", child_id)
    log = bench.crm.tables["ModificationTracking"]
    log[max(log)]["ChildName"] = child_name


CHILD_NAMES = ["ContactRole", "AccountContact", "AccountContactRole", "SomethingNew"]


@pytest.mark.parametrize("child_name", CHILD_NAMES)
@pytest.mark.parametrize("child_id", ["C", "LINK-ROW"])
def test_a_link_taken_away_is_seen_whatever_the_event_calls_it(bench: Bench, child_name: str, child_id: str) -> None:
    assert links(bench) == {"C": ["A", "B"]}
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("A",)}
    child_event(bench, "Dissociate", child_name, child_id)
    bench.sync()
    assert links(bench) == {"C": ["A"]}


@pytest.mark.parametrize("child_name", CHILD_NAMES)
def test_a_link_made_is_seen_by_the_contacts_id_under_any_name(bench: Bench, child_name: str) -> None:
    bench.put("Contact", "D", AccountId="A", _links={"ListOfAccount": ("A",)})
    bench.sync("census")
    bench.crm.tables["Contact"]["D"]["_links"] = {"ListOfAccount": ("A", "B")}
    child_event(bench, "Associate", child_name, "D")
    bench.sync()
    assert links(bench)["D"] == ["A", "B"]


def test_a_link_made_to_a_primary_account_is_seen_by_the_id_of_the_links_row(bench: Bench) -> None:
    bench.crm.tables["Contact"]["E"] = {"ModId": 1, "ModifiedDate": bench.crm.now.replace(year=2020), "AccountId": "B"}
    bench.crm.tables["Contact"]["E"]["_links"] = {"ListOfAccount": ("B",)}
    child_event(bench, "Associate", "AccountContact", "LINK-ROW")
    bench.sync()
    assert links(bench)["E"] == ["B"]


def test_a_role_taken_away_by_an_event_of_its_row_is_seen(bench: Bench) -> None:
    """The other example: neither ``Associate`` nor ``Dissociate``, but a delete of the row that holds the link."""
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("A",)}
    child_event(bench, "DeleteRecord", "ContactRole", "ROLE-ROW")
    bench.sync()
    assert links(bench) == {"C": ["A"]}
    assert bench.states("account")["B"] == "live"


def test_a_note_or_an_address_reads_no_linked_rows(bench: Bench) -> None:
    for child_name in ("Note", "AccountAddress", "Team"):
        child_event(bench, "WriteRecordNew", child_name, "N")
    bench.sync()
    assert not any(service == "contact" and "C" in ids for service, ids in bench.crm.asked)
