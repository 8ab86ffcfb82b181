"""Read the CRM's event log: a bounded window each time, overlapping the last, nothing twice and nothing lost.

The watermark is the upper bound of the last window, by the CRM's own clock at the start of the reading; it is committed
together with the events it covers. An event may become visible later than one with a later stamp, hence the overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import duckdb
import pyarrow as pa

from orchestration.catalog import Catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.errors import CrmTooHeavy
from orchestration.crm.queries import MODIFICATION_TRACKING, Query, modified
from orchestration.pipeline.requests import Event, Plan, ReadRequest, plan_requests, request_mentions, store_requests
from orchestration.pipeline.warehouse import (
    begin_reading,
    read_state,
    scalar,
    to_stored,
    transaction,
    utc_now,
    write_state,
)
from orchestration.settings import PipelineSettings

Reconcile = Literal["none", "sweep", "census"]
OpenWarehouse = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]

READ_WITHOUT_COMPARING_EVENTS = 200
"""A window with at most so many known events is read again; beyond, only where the CRM's count differs from ours."""
MOST_HALVINGS = 4
"""How often a window is halved because the CRM takes too long: each time costs as many minutes as retries take."""
DEEPEST_WINDOW_EVENTS = 2000
"""A window with more is halved by time, since deep pages are slow and shift."""


@dataclass(frozen=True)
class Window:
    """A half-open part of the log, whole seconds, UTC without zone."""

    lower: datetime
    upper: datetime

    @property
    def searchspec(self) -> str:
        return modified(self.lower.replace(tzinfo=UTC), self.upper.replace(tzinfo=UTC))

    def halves(self) -> tuple[Window, Window] | None:
        """Two parts that meet at a whole second; ``None`` for a window of one second."""
        seconds = int((self.upper - self.lower).total_seconds())
        if seconds < 2:
            return None
        middle = self.lower + timedelta(seconds=seconds // 2)
        return Window(self.lower, middle), Window(middle, self.upper)


@dataclass(frozen=True)
class PollResult:
    """What one poll of the log brought."""

    watermark: datetime
    full_load: bool = False
    unread: timedelta = timedelta(0)
    """Age of the watermark when the reading began; zero for a first load."""
    window: Window | None = None
    events_read: int = 0
    events_new: int = 0
    events_by_kind: dict[str, int] = field(default_factory=dict)
    unknown_objects: tuple[str, ...] = ()
    requests: int = 0
    probe_from: datetime | None = None
    probe_count: int = 0


def plan_window(watermark: datetime, server_now: datetime, settings: PipelineSettings) -> Window:
    """From a little before the watermark up to, but without, the seconds that are still running."""
    upper = server_now.replace(microsecond=0) + timedelta(seconds=1 - settings.lag_seconds)
    lower = watermark - timedelta(seconds=settings.overlap_seconds)
    return Window(min(lower, upper), max(upper, watermark))


def slices_to_read(
    window: Window, crm_count: Callable[[Window], int | None], known_count: Callable[[Window], int]
) -> list[Window]:
    """The parts of a window worth reading, none deeper than it must be."""
    known = known_count(window)
    there = crm_count(window)
    if there is None:
        return [window]
    if there == known and known > READ_WITHOUT_COMPARING_EVENTS:
        return []
    halves = window.halves()
    if there <= DEEPEST_WINDOW_EVENTS or halves is None:
        return [window]
    return [part for half in halves for part in slices_to_read(half, crm_count, known_count)]


def poll(
    open_warehouse: OpenWarehouse,
    crm: CrmClient,
    catalog: Catalog,
    settings: PipelineSettings,
    *,
    full_load: bool = False,
    reconcile: Reconcile = "none",
) -> PollResult:
    """Read what is new and note what must be read because of it; or begin a full load.

    Imports and batch procedures may write no events. A *sweep* asks for the rows of every object by ModifiedDate since
    the last sweep; a *census* compares ids and modification numbers, which also finds rows that left without a trace,
    and reads some rows whole, since a link may change without either.

    A full load begins when asked for, without a watermark, or when the watermark is older than the log can be relied
    on. One that was interrupted goes on where it was.
    """
    for obj in catalog:
        crm.check(obj)
    with open_warehouse() as connection:
        stored = read_state(connection, "watermark")
    watermark = None if stored is None else datetime.fromisoformat(stored)
    clock = crm.clock()
    server_now = to_stored(clock.now)
    unread = timedelta(0) if watermark is None else max(timedelta(0), server_now - watermark)
    too_old = watermark is None or unread > timedelta(days=settings.reload_after_days)
    if full_load or too_old:
        begun = _begin_full_load(open_warehouse, catalog, to_stored(clock.surely_past), settings, too_old)
        return replace(begun, unread=unread)
    assert watermark is not None
    window = plan_window(watermark, server_now, settings)
    next_watermark = plan_window(watermark, to_stored(clock.surely_past), settings).upper

    def known_count(part: Window) -> int:
        with open_warehouse() as connection:
            return scalar(
                connection,
                "SELECT count(*) FROM modification_records WHERE modified_date >= ? AND modified_date < ?",
                [part.lower, part.upper],
            )

    slices = slices_to_read(window, lambda part: crm.count(events_query(part)), known_count)
    events = {event.event_id: event for part in slices for event in read_window(crm, part)}
    deleted = [
        (obj.name, item.object_id, to_stored(item.deleted_at))
        for item in crm.deleted_items(since=window.lower.replace(tzinfo=UTC))
        for obj in catalog
        if item.type in obj.deleted_item_types and item.deleted_at is not None
    ]
    probe_from = next_watermark - timedelta(seconds=settings.overlap_seconds)
    with open_warehouse() as connection, transaction(connection):
        new = store_events(connection, events.values())
        plan = plan_requests(new, catalog)
        requests = [*plan.requests, *_requests_without_events(connection, catalog, window, settings, reconcile)]
        requests += [
            ReadRequest.row(obj, row_id, "deleted items") for obj, row_id in _store_deleted(connection, deleted)
        ]
        _note(connection, plan, requests)
        connection.execute(
            "INSERT INTO read_windows VALUES (?, ?, ?, ?, ?)",
            [window.lower, window.upper, len(events), len(new), utc_now()],
        )
        write_state(connection, "watermark", next_watermark.isoformat())
        if reconcile == "sweep":
            write_state(connection, "swept_until", window.lower.isoformat())
    read_whole = slices == [window]
    return PollResult(
        watermark=next_watermark,
        unread=unread,
        window=window,
        events_read=len(events),
        events_new=len(new),
        events_by_kind=_count_kinds(new),
        unknown_objects=plan.unknown_objects,
        requests=len(requests),
        probe_from=probe_from,
        probe_count=(
            sum(event.modified_date >= probe_from for event in events.values())
            if read_whole
            else known_count(Window(probe_from, window.upper))
        ),
    )


def events_query(window: Window) -> Query:
    """Events of a window, by Id: stamps are equal by the hundred and would leave pages without an order."""
    return Query(object=MODIFICATION_TRACKING, searchspec=window.searchspec, sort_field="Id")


def _begin_full_load(
    open_warehouse: OpenWarehouse, catalog: Catalog, server_now: datetime, settings: PipelineSettings, too_old: bool
) -> PollResult:
    watermark = server_now.replace(microsecond=0) - timedelta(seconds=settings.lag_seconds)
    with open_warehouse() as connection, transaction(connection):
        interrupted = scalar(connection, "SELECT count(*) FROM read_requests WHERE kind = 'all'") > 0
        if not interrupted or too_old:
            connection.execute("DELETE FROM read_requests")
            store_requests(
                connection, (ReadRequest(obj.name, "all", "", "", "full load") for obj in catalog), utc_now()
            )
            write_state(connection, "watermark", watermark.isoformat())
            write_state(connection, "swept_until", watermark.isoformat())
        else:
            watermark = datetime.fromisoformat(read_state(connection, "watermark") or watermark.isoformat())
    return PollResult(
        watermark=watermark, full_load=True, probe_from=watermark - timedelta(seconds=settings.overlap_seconds)
    )


def _requests_without_events(
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    window: Window,
    settings: PipelineSettings,
    reconcile: Reconcile,
) -> Iterable[ReadRequest]:
    """Objects the CRM does not track are asked for by ModifiedDate each time, all of them when reconciling."""
    lower = window.lower.isoformat()
    swept_until = read_state(connection, "swept_until") or lower
    if reconcile != "none":
        held = connection.execute("SELECT object, row_id FROM doubtful_reading WHERE held_since IS NOT NULL").fetchall()
        yield from (ReadRequest.row(name, row_id, "held") for name, row_id in held if name in catalog)
        # Nothing has proven that they are deleted: nobody tells when they can be seen again.
        lost = connection.execute("SELECT object, row_id FROM row_state WHERE state = 'lost'").fetchall()
        yield from (ReadRequest.row(name, row_id, "lost from sight") for name, row_id in lost)
    for obj in catalog:
        if reconcile == "census":
            yield ReadRequest(obj.name, "census", "", str(settings.census_link_rows if obj.links else 0), "census")
        if reconcile == "sweep":
            yield ReadRequest(obj.name, "since", "ModifiedDate", min(swept_until, lower), "sweep")
        elif not obj.tracked:
            yield ReadRequest(obj.name, "since", "ModifiedDate", lower, "not tracked")


def _note(connection: duckdb.DuckDBPyConnection, plan: Plan, requests: list[ReadRequest]) -> None:
    now = utc_now()
    store_requests(connection, requests, now)
    request_mentions(connection, plan.closing_ids, "hangs on a restored or merged row", now)


def read_window(crm: CrmClient, window: Window, halvings: int = MOST_HALVINGS) -> list[Event]:
    """The events of a window, of its halves where all of it is too heavy for the CRM."""
    try:
        return list(_read_events(crm, window))
    except CrmTooHeavy:
        halves = window.halves()
        if halves is None or not halvings:
            raise
        return [event for half in halves for event in read_window(crm, half, halvings - 1)]


def _read_events(crm: CrmClient, window: Window) -> Iterable[Event]:
    for page in crm.read(events_query(window), smaller_pages=False):
        for row in page.rows:
            text = {name: (None if value is None else str(value)) for name, value in row.values.items()}
            modified = row.values["ModifiedDate"]
            assert isinstance(modified, datetime)
            number = row.values.get("ModificationNumber")
            yield Event(
                event_id=row.id,
                object_name=text["ObjectName"] or "",
                object_id=text["ObjectId"] or "",
                child_name=text["ChildName"],
                child_id=text["ChildId"],
                event_name=text["EventName"] or "",
                modification_number=number if isinstance(number, int) else None,
                modified_date=to_stored(modified),
            )


def store_events(connection: duckdb.DuckDBPyConnection, events: Iterable[Event]) -> list[Event]:
    """Append events not known yet, and return them."""
    batch = list(events)
    if not batch:
        return []
    names = list(Event.__dataclass_fields__)
    types = {"modification_number": pa.int64(), "modified_date": pa.timestamp("us")}
    table = pa.table(
        {name: pa.array([getattr(event, name) for event in batch], types.get(name, pa.string())) for name in names}
    )
    connection.register("read_events", table)
    fresh = {
        str(row[0])
        for row in connection.execute(
            f"INSERT INTO modification_records BY NAME SELECT {', '.join(names)}, $now::TIMESTAMP AS read_at,"
            " $reading::BIGINT AS reading FROM read_events"
            " ANTI JOIN modification_records USING (event_id) RETURNING event_id",
            {"now": utc_now(), "reading": begin_reading(connection)},
        ).fetchall()
    }
    connection.unregister("read_events")
    return [event for event in batch if event.event_id in fresh]


def _store_deleted(
    connection: duckdb.DuckDBPyConnection, items: list[tuple[str, str, datetime]]
) -> list[tuple[str, str]]:
    """Append Deleted Items not known yet, and return them."""
    if not items:
        return []
    known = set(connection.execute("SELECT object, row_id, deleted_at FROM deleted_items").fetchall())
    fresh = [item for item in dict.fromkeys(items) if item not in known]
    if fresh:
        now, reading = utc_now(), begin_reading(connection)
        connection.executemany(
            "INSERT INTO deleted_items (object, row_id, deleted_at, read_at, reading) VALUES (?, ?, ?, ?, ?)",
            [[*item, now, reading] for item in fresh],
        )
    return [(obj, row_id) for obj, row_id, _ in fresh]


def _count_kinds(events: Iterable[Event]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for event in events:
        kind = f"{event.object_name} {event.event_name}"
        counts[kind] = counts.get(kind, 0) + 1
    return counts
