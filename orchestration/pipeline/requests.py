"""The work list of CRM reads: what events ask for, kept in the warehouse until the rows that answer are stored.

Pure planning is here; nothing in this module talks to the CRM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import duckdb
import pyarrow as pa

from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.readings import newest_reading
from orchestration.pipeline.schema import link_table
from orchestration.pipeline.warehouse import statement

TO_BE_READ = "unanswered IS DISTINCT FROM true"
"""Of a request: the CRM has not been asked, or has answered, and there is more to ask."""
Kind = Literal["id", "field", "book", "since", "sweep", "census", "all"]


@dataclass(frozen=True)
class ReadRequest:
    """Rows of one object to read: by id, by a field's value, by book, by ModifiedDate from ``value`` on, or all.

    A sweep reads those from ``value`` on and those without a ModifiedDate. A census reads ids and modification numbers
    only, and asks for what differs, and for ``value`` more rows because of their links.
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
class ChildEvent:
    """``row_id`` of ``object`` has a child of that id, or a link whose row has it."""

    object: str
    row_id: str
    child_id: str


@dataclass(frozen=True)
class Plan:
    """What a batch of events asks for."""

    requests: tuple[ReadRequest, ...]
    closing_ids: tuple[str, ...]
    """Rows whose dependants must be re-read although no event names them: restored and merged ones."""
    unknown_objects: tuple[str, ...]
    unknown_ids: tuple[str, ...] = ()
    """Ids in events about objects not in the catalog: some may be those of rows we know."""
    link_ends: tuple[ChildEvent, ...] = ()
    """Rows with an event about a child that may be a link, seen from the side that does not list it."""


def plan_requests(events: Iterable[Event], catalog: Catalog) -> Plan:
    """Coalesce events to the set of rows to read.

    An event is a hint: whatever its name says, known or not, the row is read again and its present state wins. Only
    restores and merges ask for more, since the CRM moves and brings back children without a word.
    """
    requests: dict[tuple[str, ...], ReadRequest] = {}
    closing: dict[str, None] = {}
    unknown: dict[str, None] = {}
    unknown_ids: dict[str, None] = {}
    link_ends: dict[ChildEvent, None] = {}

    def ask(request: ReadRequest) -> None:
        requests.setdefault((request.object, request.kind, request.field, request.value), request)

    for event in events:
        obj = catalog.by_service.get(event.object_name)
        if obj is None:
            unknown[event.object_name] = None
            unknown_ids |= dict.fromkeys(filter(None, (event.object_id, event.child_id)))
            if not event.object_name:
                # A damaged event: a wrong guess costs a read that finds nothing.
                for guess in catalog:
                    ask(ReadRequest.row(guess.name, event.object_id or str(event.child_id), "event of no object"))
            continue
        ask(ReadRequest.row(obj.name, event.object_id, event.event_name))
        if event.event_name == "MergeRecords" and event.child_id:
            ask(ReadRequest.row(obj.name, event.child_id, event.event_name))
            closing[event.child_id] = None
        elif event.child_name and event.child_id:
            other = _other_end(obj, event.child_name, catalog)
            if other is not None:
                ask(ReadRequest.row(other.name, event.child_id, event.event_name))
            # Only a plain name says for sure that the id is not that of the link's own row.
            if event.child_name not in catalog.by_service and _short(obj, event.child_name) not in NEVER_LINKS:
                link_ends[ChildEvent(obj.name, event.object_id, event.child_id)] = None
        if event.event_name in {"MergeRecords", "RestoreRecord"}:
            closing[event.object_id] = None
            for request in children_requests(catalog, obj.name, event.object_id, event.event_name):
                ask(request)
    return Plan(tuple(requests.values()), tuple(closing), tuple(unknown), tuple(unknown_ids), tuple(link_ends))


def requests_of_links(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, events: Iterable[ChildEvent]
) -> Iterator[ReadRequest]:
    """Rows that list links to these, which must be read to see the link: known ones, and whatever the child may be."""
    reason = "child event of a linked row"
    by_object: dict[str, list[ChildEvent]] = {}
    for event in events:
        by_object.setdefault(event.object, []).append(event)
    for parent, ends in by_object.items():
        for child in catalog.children_of(parent):
            if not any(path.through == parent and path.link for path in child.visibility):
                continue
            linked = f"SELECT row_id FROM {link_table(child).name} WHERE parent_id IN (SELECT unnest($ids::VARCHAR[]))"
            rows = connection.execute(linked, {"ids": [end.row_id for end in ends]}).fetchall()
            for row_id in dict.fromkeys([*(str(row[0]) for row in rows), *(end.child_id for end in ends)]):
                yield ReadRequest.row(child.name, row_id, reason)
            # A link made just now is mostly to the row's primary parent.
            for path in child.visibility:
                if path.through == parent and path.field:
                    yield from (ReadRequest(child.name, "field", path.field, end.row_id, reason) for end in ends)


def requests_of_unknown(connection: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> list[ReadRequest]:
    """Known rows with one of these ids, which came under a name that no object claims."""
    wanted = list(ids)
    if not wanted:
        return []
    rows = connection.execute(statement("rows_with_ids"), {"ids": wanted}).fetchall()
    return [ReadRequest.row(name, row_id, "named under an unknown type") for name, row_id in rows]


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


NEVER_LINKS = frozenset({"Address", "Attachment", "Book", "Competitor", "Note", "Team"})
"""Children that are rows or lists of the parent alone; geocoding and the like write many events about them."""


def _short(obj: CatalogObject, child_name: str) -> str:
    return child_name.removeprefix(obj.service)


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
