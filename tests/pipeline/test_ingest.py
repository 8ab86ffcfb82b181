"""Reading the modification log: windows, slices, and the reads that events request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.catalog import load_catalog
from orchestration.crm.errors import CrmTooHeavy
from orchestration.crm.queries import Query
from orchestration.crm.rows import Page
from orchestration.pipeline.ingest import Window, plan_window, read_window, slices_to_read
from orchestration.pipeline.requests import Event, ReadRequest, plan_requests
from orchestration.settings import PipelineSettings
from tests.pipeline.fake_crm import FakeCrm

CATALOG = load_catalog()
SETTINGS = PipelineSettings(Path("unused"))
T0 = datetime(2026, 11, 24, 6, 0, 0)  # noqa: DTZ001 - the warehouse stores UTC without zone


def event(name: str, obj: str, row: str, child: str | None = None, child_id: str | None = None) -> Event:
    return Event(f"E-{name}-{row}-{child_id}", obj, row, child, child_id, name, 1, T0)


def asked(*events: Event) -> set[tuple[str, str, str, str]]:
    return {(r.object, r.kind, r.field, r.value) for r in plan_requests(events, CATALOG).requests}


def test_a_window_overlaps_the_last_one_and_ends_before_the_current_second() -> None:
    window = plan_window(T0, T0 + timedelta(seconds=30, microseconds=900_000), SETTINGS)
    assert window == Window(T0 - timedelta(seconds=600), T0 + timedelta(seconds=30), open_end=True)


def test_a_clock_set_back_does_not_move_the_watermark_back() -> None:
    assert plan_window(T0, T0 - timedelta(seconds=90), SETTINGS).upper == T0


class Log:
    """Events per second in the CRM and in the warehouse."""

    def __init__(self, there: dict[int, int], known: dict[int, int]) -> None:
        self.there, self.known, self.counted = there, known, 0

    def slices(self, seconds: int) -> list[tuple[int, int]]:
        def inside(part: Window, events: dict[int, int]) -> int:
            low, high = ((moment - T0).total_seconds() for moment in (part.lower, part.upper))
            return sum(count for second, count in events.items() if low <= second < high)

        def count(part: Window) -> int:
            self.counted += 1
            return inside(part, self.there)

        window = Window(T0, T0 + timedelta(seconds=seconds))
        parts = slices_to_read(window, count, lambda part: inside(part, self.known))
        return [(int((p.lower - T0).total_seconds()), int((p.upper - T0).total_seconds())) for p in parts]


def test_a_small_overlap_is_read_again_although_the_counts_agree() -> None:
    assert Log({5: 10}, {5: 10}).slices(600) == [(0, 600)]


def test_after_a_mass_change_only_the_slice_with_a_late_event_is_read_again() -> None:
    known = dict.fromkeys(range(100, 500), 250)
    there = known | {333: 251}
    log = Log(there, known)
    parts = log.slices(600)
    assert len(parts) == 1
    low, high = parts[0]
    assert low <= 333 < high
    assert high - low <= 10
    assert log.counted < 30


def test_one_second_with_too_many_events_is_not_split() -> None:
    assert (7, 8) in Log({7: 5000}, {}).slices(600)


def test_nothing_is_skipped_when_the_crm_cannot_count() -> None:
    window = Window(T0, T0 + timedelta(seconds=600))
    assert slices_to_read(window, lambda _: None, lambda _: 99999) == [window]


def test_many_events_of_a_row_request_it_once_whatever_their_names() -> None:
    events = [
        event(name, "Account", "A") for name in ("WriteRecordNew", "WriteRecordUpdated", "PreDeleteRecord", "New!")
    ]
    assert asked(*events) == {("account", "id", "", "A")}


def test_a_link_event_requests_both_rows_from_either_side_and_under_joined_names() -> None:
    both = {("account", "id", "", "A"), ("contact", "id", "", "C")}
    assert asked(event("Associate", "Account", "A", "Contact", "C")) == both
    assert asked(event("Dissociate", "Contact", "C", "Account", "A")) == both
    assert asked(event("Associate", "Account", "A", "AccountContact", "C")) == both
    assert asked(event("Associate", "Contact", "C", "AccountContact", "A")) == both


def test_an_event_of_an_ambiguous_child_requests_the_parent() -> None:
    assert asked(event("WriteRecordNew", "Account", "A", "Note", "N")) == {("account", "id", "", "A")}


def test_a_merge_requests_both_rows_and_the_children_of_the_survivor() -> None:
    plan = plan_requests([event("MergeRecords", "Account", "S", None, "D")], CATALOG)
    assert set(plan.closing_ids) == {"S", "D"}
    assert {(r.object, r.kind, r.field, r.value) for r in plan.requests} == {
        ("account", "id", "", "S"),
        ("account", "id", "", "D"),
        ("contact", "field", "AccountId", "S"),
        ("opportunity", "field", "AccountId", "S"),
        ("activity", "field", "AccountId", "S"),
        ("order", "field", "BusinessAccountId", "S"),
    }


def test_events_of_objects_outside_the_catalog_are_reported_but_not_read() -> None:
    plan = plan_requests([event("WriteRecordUpdated", "Picklist", "P")], CATALOG)
    assert plan.requests == ()
    assert plan.unknown_objects == ("Picklist",)


def test_requests_name_their_reason() -> None:
    plan = plan_requests([event("WriteRecordNew", "Account", "A")], CATALOG)
    assert plan.requests == (ReadRequest("account", "id", "", "A", "WriteRecordNew"),)


class HeavyCrm(FakeCrm):
    """Answers no query for more than a minute of the log."""

    def read(self, query: Query, *_: object, **__: object) -> Iterator[Page]:
        low, high = (datetime.fromisoformat(text) for text in query.searchspec.split("'")[1::2])
        self.asked.append((query.object.name, (query.searchspec,)))
        if high - low > timedelta(seconds=60):
            raise CrmTooHeavy("too much")
        yield from super().read(query)


def test_a_window_that_is_too_heavy_is_halved_without_losing_an_event() -> None:
    crm = HeavyCrm(T0.replace(tzinfo=UTC))
    crm.tables["ModificationTracking"] = {
        f"E{second:03}": {
            "ObjectName": "Account", "ObjectId": f"A{second}", "EventName": "WriteRecordUpdated",
            "ChildName": None, "ChildId": None, "ModifiedDate": (T0 + timedelta(seconds=second)).replace(tzinfo=UTC),
        }
        for second in range(400)
    }  # fmt: skip
    whole = Window(T0, T0 + timedelta(seconds=400))
    found = read_window(crm, whole, halvings=4)
    assert sorted(event.event_id for event in found) == sorted(crm.tables["ModificationTracking"])
    assert len(crm.asked) == 1 + 2 + 4 + 8


def test_a_window_is_halved_a_limited_number_of_times() -> None:
    crm = HeavyCrm(T0.replace(tzinfo=UTC))
    with pytest.raises(CrmTooHeavy):
        read_window(crm, Window(T0, T0 + timedelta(days=20)), halvings=4)
    assert len(crm.asked) == 5
