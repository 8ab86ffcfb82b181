"""The work list of CRM reads: what events ask for, kept in the warehouse until the rows that answer are stored.

Pure planning is here; nothing in this module talks to the CRM.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import duckdb
import pyarrow as pa

from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.warehouse import newest_reading, statement

TO_BE_READ = "unanswered IS DISTINCT FROM true"
"""Of a request: the CRM has not been asked, or has answered, and there is more to ask."""
Kind = Literal["id", "field", "book", "since", "census", "all"]


@dataclass(frozen=True)
class ReadRequest:
    """Rows of one object to read: by id, by a field's value, by book, by ModifiedDate from ``value`` on, or all.

    A census reads ids and modification numbers only, and asks for what differs, and for ``value`` more rows because of
    their links.
    """

    object: str
    kind: Kind
    field: str
    value: str
    reason: str

    @classmethod
    def row(cls, obj: str, row_id: str, reason: str) -> ReadRequest:
        return cls(obj, "id", "", row_id, reason)


@dataclass(frozen=True)
class Event:
    """One Modification Tracking event. ``modified_date`` is UTC without zone."""

    event_id: str
    object_name: str
    object_id: str
    child_name: str | None
    child_id: str | None
    event_name: str
    modification_number: int | None
    modified_date: datetime


@dataclass(frozen=True)
class Plan:
    """What a batch of events asks for."""

    requests: tuple[ReadRequest, ...]
    closing_ids: tuple[str, ...]
    """Rows whose dependants must be re-read although no event names them: restored and merged ones."""
    unknown_objects: tuple[str, ...]


def plan_requests(events: Iterable[Event], catalog: Catalog) -> Plan:
    """Coalesce events to the set of rows to read.

    An event is a hint: whatever its name says, known or not, the row is read again and its present state wins. Only
    restores and merges ask for more, since the CRM moves and brings back children without a word.
    """
    requests: dict[tuple[str, ...], ReadRequest] = {}
    closing: dict[str, None] = {}
    unknown: dict[str, None] = {}

    def ask(request: ReadRequest) -> None:
        requests.setdefault((request.object, request.kind, request.field, request.value), request)

    for event in events:
        obj = catalog.by_service.get(event.object_name)
        if obj is None:
            unknown[event.object_name] = None
            continue
        ask(ReadRequest.row(obj.name, event.object_id, event.event_name))
        if event.event_name == "MergeRecords" and event.child_id:
            ask(ReadRequest.row(obj.name, event.child_id, event.event_name))
            closing[event.child_id] = None
        elif event.child_name and event.child_id:
            other = _other_end(obj, event.child_name, catalog)
            if other is not None:
                ask(ReadRequest.row(other.name, event.child_id, event.event_name))
        if event.event_name in {"MergeRecords", "RestoreRecord"}:
            closing[event.object_id] = None
            for request in children_requests(catalog, obj.name, event.object_id, event.event_name):
                ask(request)
    return Plan(tuple(requests.values()), tuple(closing), tuple(unknown))


def children_requests(catalog: Catalog, parent: str, parent_id: str, reason: str) -> Iterable[ReadRequest]:
    """Ask the CRM which rows hang on a parent by a field."""
    for child in catalog.children_of(parent):
        for path in child.visibility:
            if path.through == parent and path.field:
                yield ReadRequest(child.name, "field", path.field, parent_id, reason)


def _other_end(obj: CatalogObject, child_name: str, catalog: Catalog) -> CatalogObject | None:
    """The object a child event is about, when it is one we track.

    Child names are not unique and may be joined with the parent's (``AccountContact``, ``ContactAccount``); a wrong
    guess costs one read that finds nothing.
    """
    own = obj.service
    return (
        catalog.by_service.get(child_name)
        or catalog.by_service.get(child_name.removeprefix(own))
        or catalog.by_service.get(child_name.removesuffix(own))
    )


def store_requests(connection: duckdb.DuckDBPyConnection, requests: Iterable[ReadRequest], now: datetime) -> None:
    """Add to the work list; asking again renews the time, so that a read already under way does not settle it."""
    rows = list(requests)
    if not rows:
        return
    asked = pa.table(
        {
            name: pa.array([getattr(row, name) for row in rows], pa.string())
            for name in ("object", "kind", "field", "value", "reason")
        }
    )
    connection.register("asked", asked)
    _merge_asked(connection, now)
    connection.unregister("asked")


def request_mentions(connection: duckdb.DuckDBPyConnection, row_ids: Iterable[str], reason: str, now: datetime) -> None:
    """Ask for every known row that names, or was ever named together with, one of these rows."""
    ids = list(dict.fromkeys(row_ids))
    if not ids:
        return
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE asked AS SELECT object, 'id' AS kind, '' AS field, row_id AS value,"
        f" $reason AS reason FROM ({statement('rows_mentioning')})",
        {"ids": ids, "reason": reason},
    )
    _merge_asked(connection, now)
    connection.execute("DROP TABLE asked")


def _merge_asked(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    connection.execute(
        "DELETE FROM read_requests WHERE (object, kind, field, value) IN"
        " (SELECT (object, kind, field, value) FROM asked)"
    )
    connection.execute(
        "INSERT INTO read_requests BY NAME SELECT object, kind, field, value, reason, $now::TIMESTAMP AS requested_at,"
        " $reading::BIGINT AS reading, 0 AS position, 0 AS missed, false AS unanswered FROM asked",
        {"now": now, "reading": newest_reading(connection)},
    )
