"""Reading the rows on the work list: confirmed deletions, children of changed rows, loads that resume."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestration.crm.client import Found
from orchestration.crm.errors import CrmNoAccess, CrmRefused
from orchestration.crm.queries import Shape
from orchestration.crm.rows import Defect
from orchestration.crm.services import DeletedItem
from orchestration.pipeline.hydrate import hydrate
from orchestration.pipeline.ingest import poll
from orchestration.pipeline.requests import ReadRequest, store_requests
from orchestration.pipeline.warehouse import utc_now
from tests.pipeline.bench import CATALOG, Bench


def test_a_full_load_reads_every_row_with_its_links(bench: Bench) -> None:
    assert bench.states("account") == {"A": "live", "B": "live"}
    assert bench.query("SELECT parent_id FROM snapshot.contact_link WHERE live ORDER BY 1") == [("A",), ("B",)]
    assert bench.query("SELECT Revenue FROM snapshot.opportunity") == [("10.50",)]


def test_a_row_that_disappears_without_a_delete_is_lost_and_can_come_back(bench: Bench) -> None:
    row = bench.crm.tables["Account"].pop("B")
    bench.event("WriteRecordUpdated", "Account", "B")
    bench.sync()
    assert bench.states("account")["B"] == "live"
    assert bench.doubtful() == {"B": "vanished"}
    bench.crm.tables["Account"]["B"] = row
    bench.event("WriteRecordUpdated", "Account", "B")
    bench.sync()
    assert bench.states("account")["B"] == "live"
    assert bench.doubtful() == {}


def test_a_row_returned_without_its_id_is_not_treated_as_deleted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    defect = Defect("account", None, "Id", "no Id")
    monkeypatch.setattr(bench.crm, "read_ids", lambda *_: Found([], [defect]))
    bench.event("WriteRecordUpdated", "Account", "B")
    bench.sync()
    assert bench.states("account")["B"] == "live"
    assert bench.query("SELECT DISTINCT object, row_id, reason FROM quarantine") == [("account", None, "no Id")]


@pytest.mark.parametrize("proof", ["event", "deleted items"])
def test_a_delete_is_confirmed_by_the_event_or_by_the_deleted_items_list(bench: Bench, proof: str) -> None:
    del bench.crm.tables["Account"]["B"]
    if proof == "event":
        bench.event("DeleteRecord", "Account", "B")
    else:
        bench.crm.deleted.append(DeletedItem("Account", "B", bench.crm.now))
    bench.sync()
    assert bench.states("account")["B"] == "deleted"


def test_a_delete_event_for_an_existing_row_deletes_nothing(bench: Bench) -> None:
    bench.event("DeleteRecord", "Account", "A")
    bench.sync()
    assert bench.states("account")["A"] == "live"


def test_children_deleted_with_their_parent_are_found_without_events(bench: Bench) -> None:
    del bench.crm.tables["Account"]["A"]
    del bench.crm.tables["Opportunity"]["O"]
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("B",)}
    bench.event("DeleteRecord", "Account", "A")
    bench.sync()
    assert bench.states("opportunity") == {"O": "deleted"}
    assert bench.query("SELECT parent_id FROM snapshot.contact_link WHERE live") == [("B",)]


def test_a_restored_parent_brings_back_children_and_links_without_events(bench: Bench) -> None:
    account, opportunity = bench.crm.tables["Account"].pop("A"), bench.crm.tables["Opportunity"].pop("O")
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("B",)}
    bench.event("DeleteRecord", "Account", "A")
    bench.sync()
    bench.crm.tables["Account"]["A"], bench.crm.tables["Opportunity"]["O"] = account, opportunity
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("A", "B")}
    bench.event("RestoreRecord", "Account", "A")
    bench.sync()
    assert bench.states("opportunity") == {"O": "live"}
    assert bench.query("SELECT parent_id FROM snapshot.contact_link WHERE live ORDER BY 1") == [("A",), ("B",)]


def test_a_merge_records_the_survivor_and_finds_children_moved_without_events(bench: Bench) -> None:
    del bench.crm.tables["Account"]["A"]
    bench.crm.tables["Opportunity"]["O"]["AccountId"] = "B"
    bench.crm.tables["Contact"]["C"] |= {"AccountId": "B", "_links": {"ListOfAccount": ("B",)}}
    bench.event("MergeRecords", "Account", "B", "A")
    bench.sync()
    assert bench.query("SELECT _state, _merged_into FROM snapshot.account WHERE row_id = 'A'") == [("deleted", "B")]
    assert bench.query("SELECT AccountId FROM snapshot.opportunity") == [("B",)]
    assert bench.query("SELECT AccountId FROM snapshot.contact") == [("B",)]


@pytest.mark.parametrize("again", ["load", "census"])
def test_a_repeated_full_reading_expects_the_known_number_of_rows(bench: Bench, again: str) -> None:
    assert set(bench.crm.expected) == {(obj.name, None) for obj in CATALOG}
    bench.crm.expected.clear()
    bench.later()
    bench.load() if again == "load" else bench.sync(reconcile="census")
    assert {("account", 2), ("contact", 1), ("opportunity", 1)} <= set(bench.crm.expected)


def test_an_interrupted_full_load_resumes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.pipeline.hydrate.PAGES_PER_BATCH", 2)
    bench.crm.page_rows = 10
    for number in range(95):
        bench.put("Account", f"X{number:03}", TerritoryId="T1")
    poll(bench.open, bench.crm, CATALOG, bench.settings, full_load=True)
    bench.crm.fail_after_pages = 7
    with pytest.raises(ConnectionError):
        bench.hydrate()
    assert bench.query("SELECT position FROM read_requests WHERE object = 'account'")[0][0] > 30
    bench.crm.fail_after_pages = 7
    poll(bench.open, bench.crm, CATALOG, bench.settings, full_load=True)
    with pytest.raises(ConnectionError):
        bench.hydrate()
    bench.crm.fail_after_pages = None
    bench.hydrate()
    assert set(bench.states("account")) == set(bench.crm.tables["Account"])
    assert bench.query("SELECT count(*) FROM read_requests") == [(0,)]


def test_a_known_row_missing_in_a_full_load_is_requested_by_id(bench: Bench) -> None:
    del bench.crm.tables["Account"]["B"]
    bench.crm.asked.clear()
    bench.later()
    bench.load()
    assert ("account", ("B",)) in bench.crm.asked
    assert bench.doubtful() == {"B": "vanished"}


def test_an_empty_answer_to_a_full_load_proves_no_deletion(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = bench.crm.tables["Account"]
    real = bench.crm.read_ids
    bench.crm.tables["Account"] = {}

    def read_ids(obj: Shape, ids: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        bench.crm.tables["Account"] = accounts
        return real(obj, ids, witnesses)

    monkeypatch.setattr(bench.crm, "read_ids", read_ids)
    bench.later()
    bench.load()
    assert bench.states("account") == {"A": "live", "B": "live"}


def test_a_request_renewed_while_it_is_answered_is_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def renew() -> None:
        with bench.open() as connection:
            store_requests(connection, [ReadRequest.row("account", "A", "again")], utc_now())

    calls: list[int] = []
    real = bench.crm.read_ids

    def read_ids(obj: Shape, ids: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        answer = real(obj, ids, witnesses)
        if not calls:
            renew()
        calls.append(1)
        return answer

    monkeypatch.setattr(bench.crm, "read_ids", read_ids)
    renew()
    bench.hydrate()
    assert len(calls) == 2


def test_reading_a_window_twice_changes_nothing(bench: Bench) -> None:
    bench.put("Account", "A", AccountName="new")
    bench.event("WriteRecordUpdated", "Account", "A")
    bench.sync()
    with bench.open() as connection:
        connection.execute("DELETE FROM touched")
        connection.execute("UPDATE state SET value = '2026-11-24T05:59:59' WHERE name = 'watermark'")
        connection.execute("DELETE FROM modification_records")
    bench.sync()
    assert bench.query("FROM touched") == []
    assert bench.query("SELECT count(*) FROM modification_records") == [(1,)]


def test_an_object_without_access_is_skipped_unless_it_was_read_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CrmNoAccess("OrderQueryPage: SBL-ODU-01011")

    bench.later()
    poll(bench.open, bench.crm, CATALOG, bench.settings, full_load=True)
    monkeypatch.setattr(bench.crm, "read", refuse)
    assert hydrate(bench.open, bench.crm, CATALOG, CATALOG["order"]).no_access
    with pytest.raises(CrmNoAccess):
        hydrate(bench.open, bench.crm, CATALOG, CATALOG["account"])


def test_a_sweep_finds_changes_without_events_since_the_last_sweep(bench: Bench) -> None:
    bench.later()
    bench.put("Account", "A", AccountName="imported")
    bench.crm.now += timedelta(hours=2)
    bench.sync()
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("A",)]
    bench.sync(reconcile="sweep")
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("imported",)]
    assert bench.query("SELECT value < '2026-11-24T07:00' FROM state WHERE name = 'swept_until'") == [(False,)]


def test_a_census_finds_rows_inserted_changed_or_deleted_without_events(bench: Bench) -> None:
    bench.settings = replace(bench.settings, census_link_rows=0)
    long_ago = bench.crm.now
    bench.crm.now += timedelta(days=2)
    bench.sync()
    bench.crm.tables["Account"]["NEW"] = {"AccountName": "new", "ModId": 1, "ModifiedDate": long_ago}
    bench.crm.tables["Account"]["A"] |= {"AccountName": "changed", "ModId": 9}
    del bench.crm.tables["Account"]["B"]
    bench.crm.asked.clear()
    bench.sync(reconcile="census")
    assert bench.states("account") == {"A": "live", "B": "live", "NEW": "live"}
    assert bench.doubtful() == {"B": "vanished"}
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("changed",)]
    assert bench.crm.asked == [("account", ("A", "B", "NEW")), ("account", ("B",)), ("contact", ("C",))]


def test_a_census_without_differences_reads_only_links(bench: Bench) -> None:
    bench.crm.asked.clear()
    bench.sync(reconcile="census")
    assert bench.crm.asked == [("contact", ("C",))]


def test_a_census_finds_a_link_changed_without_event_and_modification_number(bench: Bench) -> None:
    bench.crm.now += timedelta(days=2)
    bench.sync()
    bench.sync(reconcile="sweep")
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("B",)}
    bench.sync()
    bench.sync(reconcile="sweep")
    live = "SELECT parent_id FROM snapshot.contact_link WHERE live ORDER BY 1"
    assert bench.query(live) == [("A",), ("B",)]
    bench.sync(reconcile="census")
    assert bench.query(live) == [("B",)]


def test_each_census_reads_links_of_a_limited_number_of_rows_oldest_first(bench: Bench) -> None:
    for number in range(5):
        bench.put("Contact", f"N{number}", AccountId="A", _links={})
    bench.sync("census")
    bench.settings = replace(bench.settings, census_link_rows=4)
    read: list[tuple[str, ...]] = []
    for _ in range(3):
        bench.crm.asked.clear()
        bench.sync(reconcile="census")
        assert [obj for obj, _ in bench.crm.asked] == ["contact"]
        read.append(bench.crm.asked[0][1])
    assert [len(ids) for ids in read] == [4, 4, 4]
    assert set(read[0]) | set(read[1]) == set(bench.states("contact"))


def test_a_link_to_a_row_deleted_before_the_link_was_read_returns_with_the_row(bench: Bench) -> None:
    bench.put("Account", "N", TerritoryId="T1")
    bench.event("WriteRecordNew", "Account", "N")
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("A", "B", "N")}
    bench.event("Associate", "Account", "N", "C")
    bench.crm.tables["ModificationTracking"][max(bench.crm.tables["ModificationTracking"])]["ChildName"] = "Contact"
    account = bench.crm.tables["Account"].pop("N")
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("A", "B")}
    bench.event("DeleteRecord", "Account", "N")
    bench.sync()
    assert "N" not in bench.states("account")
    bench.crm.tables["Account"]["N"] = account
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("A", "B", "N")}
    bench.crm.now += timedelta(hours=1)
    bench.sync(reconcile="census")
    assert bench.query("SELECT parent_id FROM snapshot.contact_link WHERE live ORDER BY 1") == [("A",), ("B",), ("N",)]


@pytest.mark.parametrize(("code", "given_up"), [("SBL-EAI-04471", True), ("SBL-EAI-04316", False)])
def test_a_deleted_book_does_not_block_the_work_list(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: str, given_up: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CrmRefused("AccountQueryPage", (code,))

    monkeypatch.setattr(bench.crm, "read", refuse)
    with bench.open() as connection:
        store_requests(connection, [ReadRequest("account", "book", "", "B1", "territory rebuild")], utc_now())
    with contextlib.nullcontext() if given_up else pytest.raises(CrmRefused):
        hydrate(bench.open, bench.crm, CATALOG, CATALOG["account"])
    assert bench.query("SELECT count(*) FROM read_requests") == [(0 if given_up else 1,)]
    assert bench.states("account") == {"A": "live", "B": "live"}


def test_a_link_that_a_merge_gave_to_the_survivor_comes_back_with_the_row_it_names(bench: Bench) -> None:
    """The duplicate was linked to an account that is deleted at the time of the merge, and restored after it."""
    account = bench.crm.tables["Account"].pop("B")
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("A",)}
    bench.event("DeleteRecord", "Account", "B")
    bench.put("Contact", "S", AccountId="A", _links={"ListOfAccount": ("A",)})
    bench.event("WriteRecordNew", "Contact", "S")
    bench.sync()
    del bench.crm.tables["Contact"]["C"]
    bench.event("MergeRecords", "Contact", "S", "C")
    bench.sync()
    bench.crm.tables["Account"]["B"] = account
    bench.crm.tables["Contact"]["S"]["_links"] = {"ListOfAccount": ("A", "B")}
    bench.event("RestoreRecord", "Account", "B")
    bench.sync()
    links = bench.query("SELECT parent_id FROM snapshot.contact_link WHERE row_id = 'S' AND live ORDER BY 1")
    assert links == [("A",), ("B",)]
