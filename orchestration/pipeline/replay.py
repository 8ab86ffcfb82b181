"""Read a part of the CRM's event log once more, known events and all, and every row that it names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.catalog import Catalog
from orchestration.crm.client import CrmClient
from orchestration.pipeline.ingest import OpenWarehouse, Window, events_query, read_window, slices_to_read, store_events
from orchestration.pipeline.requests import plan_requests, request_mentions, store_requests
from orchestration.pipeline.warehouse import to_stored, transaction, utc_now

LOG_DAYS = 29
"""The CRM forgets events after 30 days, at a time of its own choosing."""
REASON = "replay"


class WindowError(ValueError):
    """The log cannot be read for the window; the message says why and what to do."""


@dataclass(frozen=True)
class Replayed:
    """What the log held, and what is to be read because of it."""

    events: int
    events_new: int
    requests: int


def replay(
    open_warehouse: OpenWarehouse, crm: CrmClient, catalog: Catalog, lower: datetime, upper: datetime
) -> Replayed:
    """Note what the events of [lower, upper) ask for, as if they had never been read. The watermark stays.

    The bounds are aware, by the CRM's clock; an upper bound in the future means now. Raises :class:`WindowError`.
    """
    if lower >= upper:
        raise WindowError(f"the window ends ({upper:%Y-%m-%dT%H:%M:%SZ}) before it begins")
    now = crm.clock().now
    if lower < now - timedelta(days=LOG_DAYS):
        raise WindowError(
            f"the CRM keeps its event log for {LOG_DAYS} days: what happened before"
            f" {now - timedelta(days=LOG_DAYS):%Y-%m-%dT%H:%M:%SZ} is no longer in it. Run census, which compares every"
            " row, or full_load, which reads every row."
        )
    if lower >= now:
        raise WindowError("the window lies in the future")
    window = Window(to_stored(lower), to_stored(min(upper, now)))
    slices = slices_to_read(window, lambda part: crm.count(events_query(part)), lambda _: 0)
    events = {event.event_id: event for part in slices for event in read_window(crm, part)}
    plan = plan_requests(events.values(), catalog)
    with open_warehouse() as connection, transaction(connection):
        new = store_events(connection, events.values())
        store_requests(connection, plan.requests, utc_now())
        request_mentions(connection, plan.closing_ids, REASON, utc_now())
    return Replayed(len(events), len(new), len(plan.requests))
