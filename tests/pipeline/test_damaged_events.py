"""Events and entries that say too little: their rows are read again and they are counted, or the run stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestration.crm.client import Found
from orchestration.crm.errors import CrmAnswerError
from orchestration.crm.queries import MODIFICATION_TRACKING, Query, Shape
from orchestration.crm.rows import Defect, Page
from orchestration.crm.services import DeletedItem
from orchestration.pipeline.ingest import PollResult, Reconcile, poll
from tests.pipeline.bench import CATALOG, Bench
from tests.pipeline.fake_crm import FakeCrm


class DamagedLogCrm(FakeCrm):
    """Its typed reading of the log puts ``damaged`` events aside; as text they come, but for ``illegible`` ones."""

    def __init__(self, now: datetime, tables: dict[str, dict[str, dict[str, Any]]]) -> None:
        super().__init__(now, tables)
        self.damaged: set[str] = set()
        self.illegible: set[str] = set()
        self.searchspecs: list[str] = []

    def read(self, query: Query, *rest: Any, **options: Any) -> Iterator[Page]:
        self.searchspecs.append(query.searchspec)
        for page in super().read(query, *rest, **options):
            if query.object is not MODIFICATION_TRACKING:
                yield page
                continue
            rows = [row for row in page.rows if row.id not in self.damaged]
            aside = [Defect("modification_tracking", i, "ModifiedDate", "not a date") for i in sorted(self.damaged)]
            yield replace(page, rows=rows, quarantined=aside)

    def read_ids(self, obj: Shape, ids: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        hidden = self.illegible if "EventName" in obj.fields else set()
        return super().read_ids(obj, [row_id for row_id in ids if row_id not in hidden], witnesses)


@pytest.fixture
def crm(bench: Bench) -> DamagedLogCrm:
    made = DamagedLogCrm(bench.crm.now, bench.crm.tables)
    bench.crm = made
    bench.sync()
    return made


def sync(bench: Bench, reconcile: Reconcile = "none") -> PollResult:
    bench.later()
    result = poll(bench.open, bench.crm, CATALOG, bench.settings, reconcile=reconcile)
    bench.hydrate()
    return result


def edit(bench: Bench, **event: object) -> str:
    """Edit account A, and write an event with these fields; returns the event's id."""
    bench.put("Account", "A", AccountName="edited")
    bench.event("WriteRecordUpdated", "Account", "A")
    log = bench.crm.tables["ModificationTracking"]
    event_id = max(log)
    log[event_id] |= event
    return event_id


def name_of_a(bench: Bench) -> str:
    return str(bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'")[0][0])


@pytest.mark.parametrize(("number", "kept"), [("1.0000000", 1), ("7", 7), ("n/a", None), (None, None)])
def test_a_modification_number_of_any_form_is_no_obstacle(
    bench: Bench, crm: DamagedLogCrm, number: str | None, kept: int | None
) -> None:
    event_id = edit(bench, ModificationNumber=number)
    assert sync(bench).not_understood == {}
    assert name_of_a(bench) == "edited"
    kept_numbers = bench.query(f"SELECT modification_number FROM modification_records WHERE event_id = '{event_id}'")
    assert kept_numbers == [(kept,)]


def test_an_event_with_an_unreadable_date_is_read_again_as_text_and_its_row_with_it(
    bench: Bench, crm: DamagedLogCrm
) -> None:
    event_id = edit(bench)
    crm.damaged = {event_id}
    # Matched by its date in the CRM, and shown as something else.
    real = crm.tables["ModificationTracking"][event_id]
    crm.read_ids = lambda obj, ids, witnesses=(): Found(  # type: ignore[method-assign]
        [replace(row, values={**row.values, "ModifiedDate": "soon"}) if row.id == event_id else row
         for row in DamagedLogCrm.read_ids(crm, obj, ids, witnesses).rows], [],
    )  # fmt: skip
    assert real["ObjectId"] == "A"
    assert sync(bench).not_understood == {"damaged event": 1}
    assert name_of_a(bench) == "edited"


def test_an_event_of_which_only_the_row_can_be_read_has_its_row_read(bench: Bench, crm: DamagedLogCrm) -> None:
    event_id = edit(bench)
    crm.damaged = crm.illegible = {event_id}
    crm.tables["ModificationTracking"][event_id] |= {"EventName": None}
    assert sync(bench).not_understood == {"damaged event": 1}
    assert name_of_a(bench) == "edited"


def test_an_event_without_an_object_name_has_the_row_of_its_id_read(bench: Bench, crm: DamagedLogCrm) -> None:
    edit(bench, ObjectName=None)
    assert sync(bench).not_understood == {"damaged event": 1, "event of object (none)": 1}
    assert name_of_a(bench) == "edited"


@pytest.mark.parametrize("how", ["no row", "no id", "not read"])
def test_an_event_that_names_no_row_stops_the_run_and_moves_no_watermark(
    bench: Bench, crm: DamagedLogCrm, how: str
) -> None:
    event_id = edit(bench)
    before = bench.query("SELECT value FROM state WHERE name = 'watermark'")
    if how == "no row":
        crm.tables["ModificationTracking"][event_id] |= {"ObjectId": None}
    elif how == "no id":
        crm.read = lambda *_, **__: iter([Page([], True, None, [Defect("log", None, "Id", "missing")], 0, 1)])  # type: ignore[method-assign]
    else:
        crm.damaged = {event_id}
        crm.read_ids = lambda *_: Found([], [])  # type: ignore[method-assign]
    with pytest.raises(CrmAnswerError, match="event"):
        sync(bench)
    assert bench.query("SELECT value FROM state WHERE name = 'watermark'") == before


def test_an_event_under_an_unknown_object_has_the_known_rows_of_its_ids_read(bench: Bench, crm: DamagedLogCrm) -> None:
    edit(bench, ObjectName="Household", ObjectId="H", ChildName="Member", ChildId="A")
    assert sync(bench).not_understood == {"event of object Household": 1}
    assert name_of_a(bench) == "edited"


@pytest.mark.parametrize(
    ("item", "what"),
    [
        (DeletedItem("Channel Partner", "B", None), "Deleted Items entry of type Channel Partner"),
        (DeletedItem("", "B", None), "Deleted Items entry of type (none)"),
        (DeletedItem("Account", "B", None), "Deleted Items entry with an unreadable date"),
        (DeletedItem("Account", "", datetime(2026, 11, 24, 6, 1, tzinfo=UTC)), "Deleted Items entry without a record"),
    ],
)
def test_deleted_items_that_say_too_little_are_counted_and_their_rows_read_once(
    bench: Bench, crm: DamagedLogCrm, item: DeletedItem, what: str
) -> None:
    crm.deleted.append(item)
    del crm.tables["Account"]["B"]
    assert sync(bench).not_understood[what] == 1
    claimed = item.type == "Account" and item.object_id
    assert bench.states("account")["B"] == ("deleted" if claimed else "live")
    assert bench.doubtful() == ({} if claimed or not item.object_id else {"B": "vanished"})
    asked = len(crm.asked)
    sync(bench)
    assert ("account", ("B",)) not in crm.asked[asked:]


def test_a_sweep_finds_rows_without_a_modified_date_and_counts_them(bench: Bench, crm: DamagedLogCrm) -> None:
    crm.tables["Account"]["A"] |= {"AccountName": "undated", "ModifiedDate": None}
    sync(bench)
    assert name_of_a(bench) == "A"
    sync(bench, "sweep")
    assert name_of_a(bench) == "undated"
    assert any("OR ([ModifiedDate] IS NULL)" in spec for spec in crm.searchspecs)
