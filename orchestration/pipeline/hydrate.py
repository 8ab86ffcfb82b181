"""Read rows from the CRM as the work list asks, and store their newest state.

The CRM is read without the warehouse open; each batch is then merged in one transaction that also settles the requests
it answers. So a crash repeats reads, never loses one, and re-running a read changes nothing.

What an answer lacks proves nothing by itself: a time-out in the CRM looks like an empty list. So each query names a
witness, a row that is known to be live; without it, an answer settles nothing. What a sound answer lacks is asked for
once more, with another witness, before it counts as missing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import duckdb

from orchestration.catalog import Catalog, CatalogObject
from orchestration.crm.client import CrmClient
from orchestration.crm.errors import CrmNoAccess, CrmRefused
from orchestration.crm.queries import ID, UNDATED, Query, either, equal_to, modified
from orchestration.crm.rows import Defect, Row
from orchestration.pipeline.ingest import OpenWarehouse
from orchestration.pipeline.requests import TO_BE_READ, ReadRequest
from orchestration.pipeline.schema import PRESENT, snapshot_table
from orchestration.pipeline.snapshots import Batch, SettledRequest, merge_batch
from orchestration.pipeline.warehouse import begin_reading, scalar, statement, transaction, utc_now

IDS_PER_BATCH = 1_000
PAGES_PER_BATCH = 20
MOST_WITNESSES = 50
PAUSES_SECONDS = (2.0, 10.0)
"""Before what got no sound answer is asked for again in the same run; the first, before what was missing is, too."""
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
    unanswered: int = 0
    """Requests that got no sound answer; the rows stay as they are, and the next run asks for them again."""
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
    pauses = iter(PAUSES_SECONDS)
    while pending:
        for request in pending:
            if not (request.missed or request.unanswered):
                result.by_reason[request.reason] = result.by_reason.get(request.reason, 0) + 1
        try:
            for batch in _read(open_warehouse, crm, obj, pending, result.live_rows):
                with open_warehouse() as connection:
                    with transaction(connection):
                        merged = merge_batch(connection, catalog, obj, batch, hold_moves=hold_moves)
                    left, result.live_rows = _pending(connection, obj), _count_live(connection, obj)
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
        pending = _to_ask_next(crm, left, pauses)
        result.unanswered = len(left) - len(pending)
    if result.unanswered:
        logger.warning(
            "%d reads of %s got no sound answer: the rows stay as they are, the next run asks again",
            result.unanswered,
            obj.name,
        )
    return result


def hydrate_remaining(
    open_warehouse: OpenWarehouse, crm: CrmClient, catalog: Catalog, *, hold_moves: bool = False
) -> None:
    """Answer requests that later objects raised for earlier ones, until none is left."""
    while names := _objects_pending(open_warehouse):
        for name in names:
            hydrate(open_warehouse, crm, catalog, catalog[name], hold_moves=hold_moves)


def _to_ask_next(crm: CrmClient, left: list[SettledRequest], pauses: Iterator[float]) -> list[SettledRequest]:
    """What to ask for in the next round, if there is to be one; waits where all of it has been asked for before."""
    if not all(entry.missed or entry.unanswered for entry in left):
        return left
    pause = PAUSES_SECONDS[0]
    if any(entry.unanswered for entry in left):
        pause = next(pauses, 0.0)
    if not pause:
        left = [entry for entry in left if not entry.unanswered]
        pause = PAUSES_SECONDS[0]
    if left:
        crm.pause(pause)
    return left


def _pending(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> list[SettledRequest]:
    rows = connection.execute(
        "SELECT object, kind, field, value, reason, requested_at, coalesce(reading, 0), position, coalesce(missed, 0),"
        f" NOT ({TO_BE_READ}) FROM read_requests WHERE object = ? ORDER BY kind, field, value",
        [obj.name],
    ).fetchall()
    return [SettledRequest(ReadRequest(*row[:5]), *row[5:]) for row in rows]


def _count_live(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> int:
    return scalar(connection, f"SELECT count(*) FROM {snapshot_table(obj).name} WHERE {PRESENT}")


def _objects_pending(open_warehouse: OpenWarehouse) -> list[str]:
    with open_warehouse() as connection:
        sql = f"SELECT DISTINCT object FROM read_requests WHERE {TO_BE_READ}"
        return [str(row[0]) for row in connection.execute(sql).fetchall()]


@dataclass(frozen=True)
class _Reading:
    """One that begins: its number, when, and rows that are known to be live then."""

    number: int
    at: datetime
    witnesses: Sequence[str] = ()


def _begin(open_warehouse: OpenWarehouse, obj: CatalogObject, *, with_witnesses: bool = False) -> _Reading:
    with open_warehouse() as connection, transaction(connection):
        number = begin_reading(connection)
        if not with_witnesses:
            return _Reading(number, utc_now())
        sql = statement("witnesses").replace("snapshot_table", snapshot_table(obj).name)
        parameters = {"object": obj.name, "turn": number, "most": MOST_WITNESSES}
        witnesses = [str(row[0]) for row in connection.execute(sql, parameters).fetchall()]
        return _Reading(number, utc_now(), witnesses)


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
        match entry.request.kind:
            case "all":
                yield from _read_all(open_warehouse, crm, obj, entry, live_rows)
            case "census":
                yield _read_census(crm, obj, entry, _begin(open_warehouse, obj), live_rows)
            case "since" | "sweep":
                yield _read_since(crm, obj, entry, _begin(open_warehouse, obj, with_witnesses=True))
            case "book":
                reading = _begin(open_warehouse, obj)
                rows, defects = _collect_book(crm, obj, entry.request.value)
                batch = Batch(reading.number, reading.at, rows, defects, settled=(entry,))
                yield _believed_twice(batch, nothing=not (rows or defects))
    by_field: dict[str, list[SettledRequest]] = {}
    for entry in pending:
        if entry.request.kind == "field":
            by_field.setdefault(entry.request.field, []).append(entry)
    for name, entries in by_field.items():
        for part in _parts(entries):
            reading = _begin(open_warehouse, obj, with_witnesses=True)
            answer = crm.read_where(obj, name, [entry.request.value for entry in part], reading.witnesses)
            yield _answered(Batch(reading.number, reading.at, answer.rows, answer.quarantined), part, answer.unanswered)
    heard = True
    for part in _parts([entry for entry in pending if entry.request.kind == "id"]):
        if not heard:
            # Not one witness came for all the part before: more queries would cost and bring nothing.
            yield Batch(reading.number, reading.at, [], unanswered=tuple(part))
            continue
        reading = _begin(open_warehouse, obj, with_witnesses=True)
        ids = [entry.request.value for entry in part]
        answer = crm.read_ids(obj, ids, reading.witnesses)
        seen = {row.id for row in answer.rows} | {defect.row_id for defect in answer.quarantined}
        # A row that came without its Id may be any of them: then nothing is known to be missing.
        silent = set(ids) - seen if None in seen else answer.unanswered - seen
        heard = bool(seen) or len(silent) < len(ids)
        missing = tuple(row_id for row_id in ids if row_id not in seen and row_id not in silent)
        yield _answered(
            Batch(reading.number, reading.at, answer.rows, answer.quarantined, missing=missing), part, silent
        )


def _answered(batch: Batch, entries: Iterable[SettledRequest], silent: Collection[str | None]) -> Batch:
    """The batch, with the entries settled whose value got a sound answer."""
    entries = tuple(entries)
    return replace(
        batch,
        settled=tuple(entry for entry in entries if entry.request.value not in silent),
        unanswered=tuple(entry for entry in entries if entry.request.value in silent),
    )


def _believed_twice(batch: Batch, nothing: bool) -> Batch:
    """A batch that settles one entry, not so if ``nothing`` came for the first time where a witness cannot be had."""
    if nothing and not batch.settled[0].missed:
        return replace(batch, settled=(), missed=batch.settled, complete_since=None, census=None)
    return batch


def _read_census(crm: CrmClient, obj: CatalogObject, entry: SettledRequest, reading: _Reading, live_rows: int) -> Batch:
    pages = crm.read(Query(object=obj, fields=("ModId",)), group_pages=PAGES_PER_BATCH, expected_rows=live_rows)
    census = {row.id: row.mod_id for page in pages for row in page.rows}
    links_to_read = int(entry.request.value or 0)
    batch = Batch(reading.number, reading.at, [], census=census, links_to_read=links_to_read, settled=(entry,))
    return _believed_twice(batch, nothing=bool(live_rows and not census))


def _read_since(crm: CrmClient, obj: CatalogObject, entry: SettledRequest, reading: _Reading) -> Batch:
    since = datetime.fromisoformat(entry.request.value).replace(tzinfo=UTC)
    witness = reading.witnesses[:1]
    undated = [UNDATED] if entry.request.kind == "sweep" else []
    terms = [modified(since), *undated, *(equal_to(ID, row_id) for row_id in witness)]
    rows, defects = _collect(crm, Query(object=obj, searchspec=either(terms)))
    came = {row.id for row in rows} | {defect.row_id for defect in defects}
    asked = [row for row in rows if row.id not in witness or row.modified_date is None or row.modified_date >= since]
    batch = Batch(reading.number, reading.at, asked, defects)
    return replace(batch, settled=(entry,)) if came.issuperset(witness) else replace(batch, unanswered=(entry,))


def _read_all(
    open_warehouse: OpenWarehouse, crm: CrmClient, obj: CatalogObject, entry: SettledRequest, live_rows: int
) -> Iterator[Batch]:
    """Everything, some pages at a time, from where an interrupted load stopped.

    Rows not met at the end are not gone for that: they are asked for by id.
    """
    reading = _begin(open_warehouse, obj)
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
    number = 0
    for number, page in enumerate(pages, 1):
        rows += page.rows
        defects += page.quarantined
        if number % PAGES_PER_BATCH == 0 and not page.last:
            stored = page.start_row + page.received - 1
            yield Batch(reading.number, reading.at, rows, defects, progress=(entry, stored))
            reading, rows, defects = _begin(open_warehouse, obj), [], []
    yield _believed_twice(
        Batch(reading.number, reading.at, rows, defects, settled=(entry,), complete_since=entry.reading),
        nothing=bool(live_rows and not entry.position and number == 1 and not (rows or defects)),
    )


def _met_before(open_warehouse: OpenWarehouse, obj: CatalogObject, entry: SettledRequest) -> list[str]:
    """Rows that the interrupted load had stored: a page that joins up with it holds one of them."""
    with open_warehouse() as connection:
        sql = f"SELECT row_id FROM {snapshot_table(obj).name} WHERE _reading > ?"
        return [str(row[0]) for row in connection.execute(sql, [entry.reading]).fetchall()]


def _collect(crm: CrmClient, query: Query) -> tuple[list[Row], list[Defect]]:
    rows: list[Row] = []
    defects: list[Defect] = []
    for page in crm.read(query):
        rows += page.rows
        defects += page.quarantined
    return rows, defects


def _collect_book(crm: CrmClient, obj: CatalogObject, book_id: str) -> tuple[list[Row], list[Defect]]:
    """The rows in a book; none where the book is gone, or is closed to us: those we know of are asked for by id.

    Which rows are in a book may have changed, so none is a witness.
    """
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
