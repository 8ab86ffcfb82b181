"""Read rows from the CRM as the work list asks, and store their newest state.

The CRM is read without the warehouse open; each batch is then merged in one transaction that also settles the requests
it answers. So a crash repeats reads, never loses one, and re-running a read changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb

from orchestration.catalog import Catalog, CatalogObject
from orchestration.crm.client import CrmClient
from orchestration.crm.errors import CrmNoAccess, CrmRefused
from orchestration.crm.queries import Query, modified, modified_or_undated
from orchestration.crm.rows import Defect, Row
from orchestration.pipeline.ingest import OpenWarehouse
from orchestration.pipeline.requests import ReadRequest
from orchestration.pipeline.schema import PRESENT, snapshot_table
from orchestration.pipeline.snapshots import Batch, SettledRequest, merge_batch
from orchestration.pipeline.warehouse import scalar, transaction, utc_now

IDS_PER_BATCH = 1_000
PAGES_PER_BATCH = 20
UNKNOWN_BOOK = "SBL-EAI-04471"

logger = logging.getLogger(__name__)


@dataclass
class HydrationResult:
    """What reading one object brought; counts of rows."""

    rows_read: int = 0
    changed: int = 0
    deleted: int = 0
    lost: int = 0
    revived: int = 0
    quarantined: int = 0
    undated: int = 0
    """Rows read that have no ModifiedDate: only a sweep or census finds a change of them that no event tells."""
    live_rows: int = 0
    no_access: bool = False
    by_reason: dict[str, int] = field(default_factory=dict)


def hydrate(
    open_warehouse: OpenWarehouse, crm: CrmClient, catalog: Catalog, obj: CatalogObject, *, hold_moves: bool = False
) -> HydrationResult:
    """Answer all requests for one object, those included that the answers give rise to.

    With ``hold_moves``, proven moves are set aside for the guard like doubtful readings.
    """
    result = HydrationResult()
    with open_warehouse() as connection:
        pending, result.live_rows = _pending(connection, obj), _count_live(connection, obj)
    while pending:
        for request in pending:
            result.by_reason[request.reason] = result.by_reason.get(request.reason, 0) + 1
        try:
            for batch in _read(open_warehouse, crm, obj, pending, result.live_rows):
                with open_warehouse() as connection:
                    with transaction(connection):
                        merged = merge_batch(connection, catalog, obj, batch, hold_moves=hold_moves)
                    pending, result.live_rows = _pending(connection, obj), _count_live(connection, obj)
                result.rows_read += len(batch.rows)
                result.changed += merged.changed
                result.deleted += merged.deleted
                result.lost += merged.lost
                result.revived += merged.revived
                result.quarantined += len(batch.defects)
                result.undated += sum(row.modified_date is None for row in batch.rows)
        except CrmNoAccess:
            # An object this company does not have. One that could be read before must not go stale in silence.
            if result.live_rows:
                raise
            with open_warehouse() as connection:
                connection.execute("DELETE FROM read_requests WHERE object = ?", [obj.name])
            result.no_access = True
            return result
    return result


def hydrate_remaining(
    open_warehouse: OpenWarehouse, crm: CrmClient, catalog: Catalog, *, hold_moves: bool = False
) -> None:
    """Answer requests that later objects raised for earlier ones, until none is left."""
    while names := _objects_pending(open_warehouse):
        for name in names:
            hydrate(open_warehouse, crm, catalog, catalog[name], hold_moves=hold_moves)


def _pending(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> list[SettledRequest]:
    rows = connection.execute(
        "SELECT object, kind, field, value, reason, requested_at, position FROM read_requests"
        " WHERE object = ? ORDER BY kind, field, value",
        [obj.name],
    ).fetchall()
    return [SettledRequest(ReadRequest(*row[:5]), row[5], row[6]) for row in rows]


def _count_live(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> int:
    return scalar(connection, f"SELECT count(*) FROM {snapshot_table(obj).name} WHERE {PRESENT}")


def _objects_pending(open_warehouse: OpenWarehouse) -> list[str]:
    with open_warehouse() as connection:
        return [str(row[0]) for row in connection.execute("SELECT DISTINCT object FROM read_requests").fetchall()]


def _read(
    open_warehouse: OpenWarehouse,
    crm: CrmClient,
    obj: CatalogObject,
    pending: list[SettledRequest],
    live_rows: int,
) -> Iterator[Batch]:
    """Read in the order: everything, what changed since, by book, by parent, by id; a row read later wins.

    ``live_rows`` are known, and so about as many expected where everything is read again.
    """
    for entry in pending:
        if entry.request.kind == "all":
            yield from _read_all(open_warehouse, crm, obj, entry, live_rows)
        elif entry.request.kind == "census":
            read_at = utc_now()
            query = Query(object=obj, fields=("ModId",))
            pages = crm.read(query, group_pages=PAGES_PER_BATCH, expected_rows=live_rows)
            yield Batch(
                read_at,
                [],
                census={row.id: row.mod_id for page in pages for row in page.rows},
                links_to_read=int(entry.request.value or 0),
                settled=(entry,),
            )
        elif entry.request.kind in ("since", "sweep"):
            since = datetime.fromisoformat(entry.request.value).replace(tzinfo=UTC)
            spec = modified_or_undated(since) if entry.request.kind == "sweep" else modified(since)
            query = Query(object=obj, searchspec=spec)
            read_at = utc_now()
            rows, defects = _collect(crm, query)
            yield Batch(read_at, rows, defects, settled=(entry,))
        elif entry.request.kind == "book":
            read_at = utc_now()
            rows, defects = _collect_book(crm, obj, entry.request.value)
            yield Batch(read_at, rows, defects, settled=(entry,))
    by_field: dict[str, list[SettledRequest]] = {}
    for entry in pending:
        if entry.request.kind == "field":
            by_field.setdefault(entry.request.field, []).append(entry)
    for name, entries in by_field.items():
        for part in _parts(entries):
            read_at = utc_now()
            answer = crm.read_where(obj, name, [entry.request.value for entry in part])
            yield Batch(read_at, answer.rows, answer.quarantined, settled=tuple(part))
    for part in _parts([entry for entry in pending if entry.request.kind == "id"]):
        read_at = utc_now()
        ids = [entry.request.value for entry in part]
        answer = crm.read_ids(obj, ids)
        seen = {row.id for row in answer.rows} | {defect.row_id for defect in answer.quarantined}
        # A row that came without its Id may be any of them: then nothing is known to be missing.
        missing = () if None in seen else tuple(row_id for row_id in ids if row_id not in seen)
        yield Batch(read_at, answer.rows, answer.quarantined, missing=missing, settled=tuple(part))


def _read_all(
    open_warehouse: OpenWarehouse, crm: CrmClient, obj: CatalogObject, entry: SettledRequest, live_rows: int
) -> Iterator[Batch]:
    """Everything, some pages at a time, from where an interrupted load stopped.

    Rows not met at the end are not gone for that: they are asked for by id.
    """
    read_at = utc_now()
    rows: list[Row] = []
    defects: list[Defect] = []
    pages = crm.read(
        Query(object=obj),
        start_row=entry.position,
        seen=_met_before(open_warehouse, obj, entry) if entry.position else (),
        group_pages=PAGES_PER_BATCH,
        # What a first load will bring, nobody knows; nor, from the rows it stored, one that was interrupted.
        expected_rows=None if entry.position else live_rows or None,
    )
    for number, page in enumerate(pages, 1):
        rows += page.rows
        defects += page.quarantined
        if number % PAGES_PER_BATCH == 0 and not page.last:
            yield Batch(read_at, rows, defects, progress=(entry, page.start_row + page.received - 1))
            read_at, rows, defects = utc_now(), [], []
    yield Batch(read_at, rows, defects, settled=(entry,), complete_since=entry.requested_at)


def _met_before(open_warehouse: OpenWarehouse, obj: CatalogObject, entry: SettledRequest) -> list[str]:
    """Rows that the interrupted load had stored: a page that joins up with it holds one of them."""
    with open_warehouse() as connection:
        sql = f"SELECT row_id FROM {snapshot_table(obj).name} WHERE _read_at >= ?"
        return [str(row[0]) for row in connection.execute(sql, [entry.requested_at]).fetchall()]


def _collect(crm: CrmClient, query: Query) -> tuple[list[Row], list[Defect]]:
    rows: list[Row] = []
    defects: list[Defect] = []
    for page in crm.read(query):
        rows += page.rows
        defects += page.quarantined
    return rows, defects


def _collect_book(crm: CrmClient, obj: CatalogObject, book_id: str) -> tuple[list[Row], list[Defect]]:
    """The rows in a book; none where the book is gone, or is closed to us: those we know of are asked for by id."""
    try:
        return _collect(crm, Query(object=obj, book_id=book_id))
    except CrmRefused as error:
        if UNKNOWN_BOOK not in error.codes:
            raise
        logger.warning("book %s is not there, or not open to this user: %s", book_id, error)
        return [], []


def _parts(entries: list[SettledRequest]) -> Iterable[list[SettledRequest]]:
    for start in range(0, len(entries), IDS_PER_BATCH):
        yield entries[start : start + IDS_PER_BATCH]
