"""The CRM's Deleted Items list: proof of deletes where an object claims the entry, else a reason to look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

import duckdb

from orchestration.catalog import Catalog
from orchestration.crm.services import DeletedItem
from orchestration.pipeline.requests import ReadRequest, requests_of_unknown
from orchestration.pipeline.warehouse import begin_reading, to_stored, utc_now

UNCLAIMED = ""
"""The object of entries whose type no object of the catalog claims: they prove nothing."""


def requests_of_deleted(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, items: Iterable[DeletedItem]
) -> Iterator[ReadRequest]:
    """Store entries not known yet, and ask for the rows they name: by object, or any known row of that id."""
    entries = [entry for item in items for entry in _entries(catalog, item)]
    if not entries:
        return
    known = set(connection.execute("SELECT object, row_id, deleted_at FROM deleted_items").fetchall())
    fresh = [entry for entry in dict.fromkeys(entries) if entry not in known]
    if fresh:
        now, reading = utc_now(), begin_reading(connection)
        connection.executemany(
            "INSERT INTO deleted_items (object, row_id, deleted_at, read_at, reading) VALUES (?, ?, ?, ?, ?)",
            [[*entry, now, reading] for entry in fresh],
        )
    for name, row_id, _ in fresh:
        if name != UNCLAIMED:
            yield ReadRequest.row(name, row_id, "deleted items")
    yield from requests_of_unknown(connection, [row_id for name, row_id, _ in fresh if name == UNCLAIMED])


def damage_of(catalog: Catalog, items: Iterable[DeletedItem]) -> Iterator[str]:
    """For each entry that does not say all it should, what is wrong with it."""
    for item in items:
        if not item.object_id:
            yield "Deleted Items entry without a record"
        elif not _claimants(catalog, item):
            yield f"Deleted Items entry of type {item.type or '(none)'}"
        if item.deleted_at is None:
            yield "Deleted Items entry with an unreadable date"


def _entries(catalog: Catalog, item: DeletedItem) -> Iterator[tuple[str, str, datetime | None]]:
    """An unreadable date is none: the entry still proves the delete of a row that was never restored."""
    if item.object_id:
        at = None if item.deleted_at is None else to_stored(item.deleted_at)
        for name in _claimants(catalog, item) or [UNCLAIMED]:
            yield name, item.object_id, at


def _claimants(catalog: Catalog, item: DeletedItem) -> list[str]:
    return [obj.name for obj in catalog if item.type in obj.deleted_item_types]
