"""Read the CRM's event log: a bounded window each time, overlapping the last, nothing twice and nothing lost.

The watermark is the CRM's own time at the start of the reading, as far as its clock is believed; it is committed
together with the events it covers. An event may become visible later than one with a later stamp, hence the overlap.
Whatever is visible is read, also with a stamp in the future: the sensor's probe counts it too, and would else launch
one run after another for an event that none of them reads.
"""

from __future__ import annotations

import logging
from collections import Counter
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
from orchestration.crm.services import DeletedItem
from orchestration.pipeline.clock import believed, fallen_back
from orchestration.pipeline.deleted_items import damage_of, requests_of_deleted
from orchestration.pipeline.events import DamagedEvent, read_events
from orchestration.pipeline.requests import (
    Event,
    Plan,
    ReadRequest,
    plan_requests,
    request_mentions,
    requests_of_links,
    requests_of_unknown,
    store_requests,
)
from orchestration.pipeline.warehouse import (
    begin_reading,
    read_state,
    scalar,
    statement,
    transaction,
    utc_now,
    write_state,
)
from orchestration.settings import PipelineSettings

logger = logging.getLogger(__name__)

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
    """A half-open part of the log, whole seconds, UTC without zone; with an ``open_end``, also all after it."""

    lower: datetime
    upper: datetime
    open_end: bool = False

    @property
    def searchspec(self) -> str:
        upper = None if self.open_end else self.upper.replace(tzinfo=UTC)
        return modified(self.lower.replace(tzinfo=UTC), upper)

    def halves(self) -> tuple[Window, Window] | None:
        """Two parts that meet at a whole second; ``None`` for a window of one second."""
        seconds = int((self.upper - self.lower).total_seconds())
        if seconds < 2:
            return None
        middle = self.lower + timedelta(seconds=seconds // 2)
        return Window(self.lower, middle), Window(middle, self.upper, self.open_end)


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
    not_understood: dict[str, int] = field(default_factory=dict)
    """Counts, by what they are, of events and entries that say nothing to us, or not all they should."""
    requests: int = 0
    probe_from: datetime | None = None
    probe_count: int = 0
    """Events from ``probe_from`` on, as this reading found them: more or fewer are a reason to read again."""
    clock_doubt: str = ""
    """Why the CRM's clock was not believed, and the watermark stayed where it was."""


def plan_window(
    watermark: datetime, server_now: datetime, settings: PipelineSettings, earliest: datetime | None = None
) -> Window:
    """From an overlap before the earlier of watermark and CRM's time on; ``upper`` leaves out the running seconds.

    ``earliest`` is the earliest time that the CRM may have stamped events with since the last reading, if not now.
    """
    now = server_now.replace(microsecond=0)
    begin = min(watermark, now, *(() if earliest is None else (earliest.replace(microsecond=0),)))
    upper = max(now + timedelta(seconds=1 - settings.lag_seconds), watermark)
    return Window(begin - timedelta(seconds=settings.overlap_seconds), upper, open_end=True)


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
        watermark = _stored_time(connection, "watermark")
        read_until = _stored_time(connection, "read_until")
        stored_lead = read_state(connection, "clock_lead_seconds")
    lead_before = None if stored_lead is None else timedelta(seconds=float(stored_lead))
    clock = crm.clock()
    crm_time = believed(clock, watermark)
    lead = crm_time.earliest - utc_now()
    if crm_time.doubt:
        logger.warning("%s: the watermark does not move until they agree. Run preflight.", crm_time.doubt)
    unread = timedelta(0) if watermark is None else max(timedelta(0), crm_time.earliest - watermark)
    too_old = watermark is None or unread > timedelta(days=settings.reload_after_days)
    if full_load or too_old:
        begun = _begin_full_load(open_warehouse, catalog, crm_time.earliest, settings, too_old)
        return replace(begun, unread=unread, clock_doubt=crm_time.doubt)
    assert watermark is not None
    earliest = min(crm_time.earliest, read_until or watermark) - fallen_back(lead_before, lead)
    window = plan_window(watermark, crm_time.latest, settings, earliest)
    reached = plan_window(watermark, crm_time.earliest, settings).upper
    next_watermark = watermark if crm_time.doubt else reached

    def known_count(part: Window) -> int:
        with open_warehouse() as connection:
            return scalar(
                connection,
                "SELECT count(*) FROM modification_records WHERE modified_date >= ? AND (? OR modified_date < ?)",
                [part.lower, part.open_end, part.upper],
            )

    counts: dict[Window, int | None] = {}

    def crm_count(part: Window) -> int | None:
        counts[part] = crm.count(events_query(part))
        return counts[part]

    slices = slices_to_read(window, crm_count, known_count)
    events = {event.event_id: event for part in slices for event in read_window(crm, part, now=crm_time.latest)}
    damaged = sum(isinstance(event, DamagedEvent) for event in events.values())
    deleted = crm.deleted_items(since=window.lower.replace(tzinfo=UTC))
    with open_warehouse() as connection, transaction(connection):
        new = store_events(connection, events.values())
        plan = plan_requests(new, catalog)
        requests = [*plan.requests, *_requests_without_events(connection, catalog, window, settings, reconcile)]
        requests += requests_of_deleted(connection, catalog, deleted)
        requests += requests_of_unknown(connection, plan.unknown_ids)
        requests += requests_of_links(connection, catalog, plan.link_ends)
        _note(connection, plan, requests)
        connection.execute(
            "INSERT INTO read_windows VALUES (?, ?, ?, ?, ?)",
            [window.lower, window.upper, len(events), len(new), utc_now()],
        )
        write_state(connection, "watermark", next_watermark.isoformat())
        write_state(connection, "read_until", min(next_watermark, crm_time.earliest).isoformat())
        write_state(connection, "clock_lead_seconds", str(lead.total_seconds()))
        if reconcile == "sweep":
            write_state(connection, "swept_until", window.lower.isoformat())
    probe_from, probe_count = window.lower, counts[window]
    if damaged and slices == [window]:
        # Nobody knows which of them lie in the next overlap.
        probe_count = len(events)
    elif slices == [window] or probe_count is None:
        # What was read says more than a count before it, and a probe of the next overlap only is cheaper.
        probe_from = next_watermark - timedelta(seconds=settings.overlap_seconds)
        probe_count = sum(event.modified_date >= probe_from for event in events.values())
    return PollResult(
        watermark=next_watermark,
        unread=unread,
        window=window,
        events_read=len(events),
        events_new=len(new),
        events_by_kind=_count_kinds(new),
        unknown_objects=plan.unknown_objects,
        not_understood=_not_understood(new, catalog, deleted),
        requests=len(requests),
        probe_from=probe_from,
        probe_count=probe_count,
        clock_doubt=crm_time.doubt,
    )


def _stored_time(connection: duckdb.DuckDBPyConnection, name: str) -> datetime | None:
    stored = read_state(connection, name)
    return None if stored is None else datetime.fromisoformat(stored)


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
            for name in ("watermark", "read_until", "swept_until"):
                write_state(connection, name, watermark.isoformat())
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
            yield ReadRequest(obj.name, "sweep", "ModifiedDate", min(swept_until, lower), "sweep")
        elif not obj.tracked:
            yield ReadRequest(obj.name, "since", "ModifiedDate", lower, "not tracked")
    if reconcile != "none":
        for name, row_id in connection.execute(statement("still_quarantined")).fetchall():
            if name in catalog:
                yield ReadRequest.row(name, row_id, "in quarantine")


def _note(connection: duckdb.DuckDBPyConnection, plan: Plan, requests: list[ReadRequest]) -> None:
    now = utc_now()
    store_requests(connection, requests, now)
    request_mentions(connection, plan.closing_ids, "hangs on a restored or merged row", now)


def read_window(
    crm: CrmClient, window: Window, halvings: int = MOST_HALVINGS, now: datetime | None = None
) -> list[Event]:
    """The events of a window, of its halves where all of it is too heavy for the CRM.

    ``now`` stands for times that cannot be read: the window's end, where it is not given.
    """
    now = window.upper if now is None else now
    halves = window.halves() if halvings else None
    try:
        return list(read_events(crm, events_query(window), now, smaller_pages=halves is None))
    except CrmTooHeavy:
        if halves is None:
            raise
        return [event for half in halves for event in read_window(crm, half, halvings - 1, now)]


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


def _not_understood(events: Iterable[Event], catalog: Catalog, deleted: Iterable[DeletedItem]) -> dict[str, int]:
    counts = Counter(damage_of(catalog, deleted))
    for event in events:
        if isinstance(event, DamagedEvent):
            counts["damaged event"] += 1
        if event.object_name not in catalog.by_service:
            counts[f"event of object {event.object_name or '(none)'}"] += 1
    return dict(counts)


def _count_kinds(events: Iterable[Event]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for event in events:
        kind = f"{event.object_name} {event.event_name}"
        counts[kind] = counts.get(kind, 0) + 1
    return counts
