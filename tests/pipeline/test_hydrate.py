"""Reading rows as the work list asks: tombstones with their proof, children that follow, loads that resume."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from orchestration.catalog import load_catalog
from orchestration.crm.client import Found
from orchestration.crm.errors import CrmNoAccess, CrmRefused
from orchestration.crm.rows import Defect
from orchestration.crm.services import DeletedItem
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.ingest import OpenWarehouse, Reconcile, poll
from orchestration.pipeline.requests import ReadRequest, store_requests
from orchestration.pipeline.warehouse import open_warehouse, utc_now
from orchestration.settings import PipelineSettings
from tests.pipeline.fake_crm import FakeCrm

CATALOG = load_catalog()
T0 = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)


@dataclass
class Bench:
    crm: FakeCrm
    open: OpenWarehouse
    settings: PipelineSettings

    def put(self, service: str, row_id: str, **fields: object) -> None:
        old = self.crm.tables.setdefault(service, {}).get(row_id, {"ModId": 0})
        self.crm.tables[service][row_id] = old | fields | {"ModId": old["ModId"] + 1, "ModifiedDate": self.crm.now}  # type: ignore[operator]

    def event(self, name: str, service: str, row_id: str, child_id: str | None = None) -> None:
        log = self.crm.tables.setdefault("ModificationTracking", {})
        log[f"E{len(log):05}"] = {
            "ObjectName": service, "ObjectId": row_id, "ChildName": None, "ChildId": child_id,
            "EventName": name, "ModificationNumber": 1, "ModifiedDate": self.crm.now,
        }  # fmt: skip

    def later(self) -> None:
        self.crm.now += timedelta(minutes=1)

    def load(self) -> None:
        poll(self.open, self.crm, CATALOG, self.settings, full_load=True)  # type: ignore[arg-type]
        self.hydrate()

    def sync(self, reconcile: Reconcile = "none") -> None:
        self.later()
        poll(self.open, self.crm, CATALOG, self.settings, reconcile=reconcile)  # type: ignore[arg-type]
        self.hydrate()

    def hydrate(self) -> None:
        for obj in CATALOG:
            hydrate(self.open, self.crm, CATALOG, obj)  # type: ignore[arg-type]
        hydrate_remaining(self.open, self.crm, CATALOG)  # type: ignore[arg-type]

    def states(self, obj: str) -> dict[str, str]:
        return dict(self.query(f'SELECT row_id, _state FROM snapshot."{obj}"'))

    def doubtful(self) -> dict[str, str]:
        return dict(self.query("SELECT row_id, evidence FROM doubtful_reading"))

    def query(self, sql: str) -> list[tuple[str, ...]]:
        with self.open() as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    settings = PipelineSettings(tmp_path)

    @contextmanager
    def opened() -> Iterator[duckdb.DuckDBPyConnection]:
        with open_warehouse(settings.warehouse_path, CATALOG, 5) as connection:
            yield connection

    made = Bench(FakeCrm(T0), opened, settings)
    for name in ("A", "B"):
        made.put("Account", name, AccountName=name, TerritoryId="T1")
    made.put("Contact", "C", AccountId="A", _links={"ListOfAccount": ("A", "B")})
    made.put("Opportunity", "O", AccountId="A", Revenue="10.50")
    made.load()
    return made


def test_a_full_load_takes_every_row_with_its_links(bench: Bench) -> None:
    assert bench.states("account") == {"A": "live", "B": "live"}
    assert bench.query("SELECT parent_id FROM snapshot.contact_link WHERE live ORDER BY 1") == [("A",), ("B",)]
    assert bench.query("SELECT Revenue FROM snapshot.opportunity") == [("10.50",)]


def test_a_row_that_is_not_returned_and_not_known_as_deleted_is_set_aside_and_can_come_back(bench: Bench) -> None:
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


def test_a_row_that_came_without_its_id_is_not_taken_for_gone(bench: Bench) -> None:
    defect = Defect("account", None, "Id", "no Id")
    bench.crm.read_ids = lambda *_: Found([], [defect])  # type: ignore[method-assign]
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


def test_a_delete_event_about_a_row_that_is_still_there_deletes_nothing(bench: Bench) -> None:
    bench.event("DeleteRecord", "Account", "A")
    bench.sync()
    assert bench.states("account")["A"] == "live"


def test_children_deleted_with_their_parent_without_a_word_are_found_and_confirmed(bench: Bench) -> None:
    del bench.crm.tables["Account"]["A"]
    del bench.crm.tables["Opportunity"]["O"]
    bench.crm.tables["Contact"]["C"]["_links"] = {"ListOfAccount": ("B",)}
    bench.event("DeleteRecord", "Account", "A")
    bench.sync()
    assert bench.states("opportunity") == {"O": "deleted"}
    assert bench.query("SELECT parent_id FROM snapshot.contact_link WHERE live") == [("B",)]


def test_a_restored_parent_brings_back_children_and_links_that_no_event_names(bench: Bench) -> None:
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


def test_a_merge_names_the_survivor_and_follows_children_that_moved_silently(bench: Bench) -> None:
    del bench.crm.tables["Account"]["A"]
    bench.crm.tables["Opportunity"]["O"]["AccountId"] = "B"
    bench.crm.tables["Contact"]["C"] |= {"AccountId": "B", "_links": {"ListOfAccount": ("B",)}}
    bench.event("MergeRecords", "Account", "B", "A")
    bench.sync()
    assert bench.query("SELECT _state, _merged_into FROM snapshot.account WHERE row_id = 'A'") == [("deleted", "B")]
    assert bench.query("SELECT AccountId FROM snapshot.opportunity") == [("B",)]
    assert bench.query("SELECT AccountId FROM snapshot.contact") == [("B",)]


@pytest.mark.parametrize("again", ["load", "census"])
def test_who_reads_everything_again_expects_as_many_rows_as_are_known_and_before_that_any_number(
    bench: Bench, again: str
) -> None:
    assert set(bench.crm.expected) == {(obj.name, None) for obj in CATALOG}
    bench.crm.expected.clear()
    bench.later()
    bench.load() if again == "load" else bench.sync(reconcile="census")
    assert {("account", 2), ("contact", 1), ("opportunity", 1)} <= set(bench.crm.expected)


def test_an_interrupted_full_load_goes_on_where_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.pipeline.hydrate.PAGES_PER_BATCH", 2)
    bench.crm.page_rows = 10
    for number in range(95):
        bench.put("Account", f"X{number:03}", TerritoryId="T1")
    poll(bench.open, bench.crm, CATALOG, bench.settings, full_load=True)  # type: ignore[arg-type]
    bench.crm.fail_after_pages = 7
    with pytest.raises(ConnectionError):
        bench.hydrate()
    assert bench.query("SELECT position FROM read_requests WHERE object = 'account'")[0][0] > 30
    bench.crm.fail_after_pages = 7
    poll(bench.open, bench.crm, CATALOG, bench.settings, full_load=True)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        bench.hydrate()
    bench.crm.fail_after_pages = None
    bench.hydrate()
    assert set(bench.states("account")) == set(bench.crm.tables["Account"])
    assert bench.query("SELECT count(*) FROM read_requests") == [(0,)]


def test_a_full_load_that_does_not_meet_a_row_asks_for_it_by_id(bench: Bench) -> None:
    del bench.crm.tables["Account"]["B"]
    bench.crm.asked.clear()
    bench.later()
    bench.load()
    assert ("account", ("B",)) in bench.crm.asked
    assert bench.doubtful() == {"B": "vanished"}


def test_an_empty_answer_to_a_full_load_proves_no_deletion(bench: Bench) -> None:
    accounts = bench.crm.tables["Account"]
    real_read_ids = bench.crm.read_ids
    bench.crm.tables["Account"] = {}
    bench.crm.read_ids = lambda obj, ids, *_: (bench.crm.tables.update(Account=accounts), real_read_ids(obj, ids))[1]  # type: ignore[method-assign]
    bench.later()
    bench.load()
    assert bench.states("account") == {"A": "live", "B": "live"}


def test_a_request_renewed_while_its_answer_was_read_is_not_settled(bench: Bench) -> None:
    def renew() -> None:
        with bench.open() as connection:
            store_requests(connection, [ReadRequest.row("account", "A", "again")], utc_now())

    calls: list[int] = []
    real: Callable[..., object] = bench.crm.read_ids

    def read_ids(obj: object, ids: object, *_: object) -> object:
        answer = real(obj, ids)
        if not calls:
            renew()
        calls.append(1)
        return answer

    bench.crm.read_ids = read_ids  # type: ignore[method-assign, assignment]
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


def test_an_object_the_company_does_not_have_is_left_out_but_one_read_before_is_not(bench: Bench) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CrmNoAccess("OrderQueryPage: SBL-ODU-01011")

    bench.later()
    poll(bench.open, bench.crm, CATALOG, bench.settings, full_load=True)  # type: ignore[arg-type]
    bench.crm.read = refuse  # type: ignore[method-assign, assignment]
    assert hydrate(bench.open, bench.crm, CATALOG, CATALOG["order"]).no_access  # type: ignore[arg-type]
    with pytest.raises(CrmNoAccess):
        hydrate(bench.open, bench.crm, CATALOG, CATALOG["account"])  # type: ignore[arg-type]


def test_a_sweep_finds_what_an_import_changed_without_events_and_only_since_the_last_sweep(bench: Bench) -> None:
    bench.later()
    bench.put("Account", "A", AccountName="imported")
    bench.crm.now += timedelta(hours=2)
    bench.sync()
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("A",)]
    bench.sync(reconcile="sweep")
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("imported",)]
    assert bench.query("SELECT value < '2026-11-24T07:00' FROM state WHERE name = 'swept_until'") == [(False,)]


def test_a_census_finds_rows_that_came_changed_and_left_without_a_trace(bench: Bench) -> None:
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


def test_a_census_that_finds_nothing_asks_for_nothing_but_links(bench: Bench) -> None:
    bench.crm.asked.clear()
    bench.sync(reconcile="census")
    assert bench.crm.asked == [("contact", ("C",))]


def test_a_census_finds_a_link_that_neither_an_event_nor_a_number_tells_of(bench: Bench) -> None:
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


def test_each_census_reads_the_links_of_so_many_rows_those_longest_unread_first(bench: Bench) -> None:
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


def test_a_link_made_to_a_row_that_was_deleted_before_the_link_was_read_comes_back_with_it(bench: Bench) -> None:
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
def test_a_book_that_is_gone_does_not_block_the_work_list(bench: Bench, code: str, given_up: bool) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CrmRefused("AccountQueryPage", (code,))

    bench.crm.read = refuse  # type: ignore[method-assign, assignment]
    with bench.open() as connection:
        store_requests(connection, [ReadRequest("account", "book", "", "B1", "territory rebuild")], utc_now())
    with contextlib.nullcontext() if given_up else pytest.raises(CrmRefused):
        hydrate(bench.open, bench.crm, CATALOG, CATALOG["account"])  # type: ignore[arg-type]
    assert bench.query("SELECT count(*) FROM read_requests") == [(0 if given_up else 1,)]
    assert bench.states("account") == {"A": "live", "B": "live"}
