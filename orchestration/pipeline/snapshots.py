"""Merge what was read into an object's snapshot: one transaction per batch, and a re-run of a batch changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from orchestration.catalog import AUDIT_FIELDS, Catalog, CatalogObject, FieldType
from orchestration.crm.rows import Defect, Row
from orchestration.pipeline.evidence import resolve_deleted, set_aside_doubtful, set_aside_vanished
from orchestration.pipeline.last_good import with_last_good
from orchestration.pipeline.requests import ReadRequest, children_requests, request_mentions, store_requests
from orchestration.pipeline.schema import PRESENT, link_table, quoted, snapshot_table
from orchestration.pipeline.warehouse import scalar, statement, to_stored, utc_now

_ARROW_TYPES = {
    FieldType.STRING: pa.string(),
    FieldType.BOOLEAN: pa.bool_(),
    FieldType.INT: pa.int64(),
    FieldType.DECIMAL: pa.string(),
    FieldType.DATE: pa.date32(),
    FieldType.DATE_TIME: pa.timestamp("us"),
}


@dataclass(frozen=True)
class SettledRequest:
    """An entry of the work list as it was when reading began; one renewed meanwhile is not settled by the answer."""

    request: ReadRequest
    requested_at: datetime
    reading: int = 0
    """The one that had begun last when it was requested."""
    position: int = 0
    missed: int = 0
    """Sound answers so far that lacked what was asked for."""
    unanswered: bool = False
    """The last answer proved nothing."""

    @property
    def reason(self) -> str:
        return self.request.reason


@dataclass(frozen=True)
class Batch:
    """Rows of one object as one reading found them: its number, by which readings are ordered, and when it began."""

    reading: int
    read_at: datetime
    rows: Sequence[Row]
    defects: Sequence[Defect] = ()
    missing: Sequence[str] = ()
    """Ids asked for by name that the CRM did not return in a sound answer; of those asked for once only, unless proof
    is there, nothing follows yet.
    """
    settled: Sequence[SettledRequest] = ()
    missed: Sequence[SettledRequest] = ()
    """Entries that an answer was silent about; they are asked once more."""
    unanswered: Sequence[SettledRequest] = ()
    """Entries whose answer proves nothing; they stay."""
    progress: tuple[SettledRequest, int] | None = None
    """For a load under way: the entry, and how many rows of it are stored with this batch."""
    complete_since: int | None = None
    """Set on the last batch of a load of everything, whose readings are all later than this one."""
    census: Mapping[str, int | None] | None = None
    """Of a census: the modification number of every row the CRM has."""
    links_to_read: int = 0
    """Of a census: how many rows to read whole, because associating need not move either side's number."""


@dataclass(frozen=True)
class MergeResult:
    """Counts of rows."""

    changed: int
    deleted: int
    lost: int
    revived: int


def merge_batch(
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    obj: CatalogObject,
    batch: Batch,
    *,
    hold_moves: bool = False,
) -> MergeResult:
    """Store a batch and note what it touches. The caller holds the transaction."""
    _stage(connection, obj, batch)
    asked = (
        []
        if obj.dimension
        else set_aside_doubtful(connection, obj, batch.read_at, batch.reading, hold_moves=hold_moves)
    )
    store_requests(
        connection, (ReadRequest.row(name, row_id, "is missing from a list") for name, row_id in asked), utc_now()
    )
    revived = _ids(connection, statement("rows_coming_back"), {"object": obj.name})
    changed = _replace_changed(connection, obj, batch)
    gone, ask_again = _mark_missing(connection, obj, batch)
    _raise_requests(connection, catalog, obj, batch, revived, gone)
    _settle(connection, obj, batch, ask_again)
    lost = sum(state == "lost" for _, state in gone)
    return MergeResult(changed, len(gone) - lost, lost, len(revived))


def _stage(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, batch: Batch) -> None:
    """Temp tables: ``known``, what is stored of the rows read, with their places; ``fresh``, the rows read less those a
    later reading has stored; ``differing``, of them the news.
    """
    rows = with_last_good(connection, obj, {row.id: row for row in batch.rows}.values())
    payloads = [orjson.dumps([row.raw, row.links], option=orjson.OPT_SORT_KEYS) for row in rows]
    columns: dict[str, pa.Array] = {"row_id": pa.array([row.id for row in rows], pa.string())}
    kinds = {**obj.fields, **{name: FieldType(kind) for name, kind in AUDIT_FIELDS.items()}}
    for name, kind in kinds.items():
        columns[name] = pa.array([_stored(row.values.get(name)) for row in rows], _ARROW_TYPES[kind])
    columns["_content"] = pa.array([_hash64(payload) for payload in payloads], pa.uint64())
    columns["_payload"] = pa.array([payload.decode() for payload in payloads], pa.string())
    connection.register("staged", pa.table(columns))
    ways = "".join(f", {quoted(name)} AS {quoted('was_' + name)}" for name in (*obj.way_fields, "ModId"))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE known AS SELECT row_id, {PRESENT} AS present, _content, _reading, rowid AS place"
        f"{ways} FROM {_snapshot(obj)} WHERE row_id IN (SELECT row_id FROM staged)"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE fresh AS FROM staged"
        " ANTI JOIN (FROM known WHERE _reading > $reading) AS newer USING (row_id)",
        {"reading": batch.reading},
    )
    connection.unregister("staged")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE differing AS FROM fresh"
        " ANTI JOIN (FROM known WHERE present) AS served USING (row_id, _content)"
    )
    if obj.links:
        links = [(row.id, name, parent) for row in rows for name, parents in row.links.items() for parent in parents]
        connection.register(
            "staged_links",
            pa.table(
                {
                    name: pa.array([link[index] for link in links], pa.string())
                    for index, name in enumerate(("row_id", "list", "parent_id"))
                }
            ),
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE fresh_links AS SELECT DISTINCT row_id, list, parent_id"
            " FROM staged_links SEMI JOIN fresh USING (row_id)"
        )
        connection.unregister("staged_links")
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE known_link AS SELECT *, rowid AS place"
            f" FROM {link_table(obj).name} WHERE row_id IN (SELECT row_id FROM fresh)"
        )


def _replace_changed(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, batch: Batch) -> int:
    snapshot = _snapshot(obj)
    began = {"read_at": batch.read_at, "reading": batch.reading}
    connection.execute(
        f"UPDATE {snapshot} SET _read_at = $read_at, _reading = $reading"
        " WHERE rowid IN (SELECT place FROM known SEMI JOIN fresh USING (row_id))",
        began,
    )
    # Delete and insert: an update of wide text rewrites the column everywhere.
    connection.execute(
        f"DELETE FROM {snapshot} WHERE rowid IN (SELECT place FROM known SEMI JOIN differing USING (row_id))"
    )
    fields = ", ".join(quoted(name) for name in ("row_id", *obj.fields, *AUDIT_FIELDS))
    connection.execute(
        f"INSERT INTO {snapshot} ({fields}, _state, _content, _read_at, _reading)"
        f" SELECT {fields}, 'live', _content, $read_at, $reading FROM differing",
        began,
    )
    if obj.links:
        links = link_table(obj).name
        for live, places in (
            (
                False,
                "known_link SEMI JOIN differing USING (row_id) ANTI JOIN fresh_links USING (row_id, list, parent_id)",
            ),
            (True, "known_link SEMI JOIN fresh_links USING (row_id, list, parent_id)"),
        ):
            connection.execute(
                f"UPDATE {links} SET live = {live} WHERE rowid IN (SELECT place FROM {places} WHERE live <> {live})"
            )
        connection.execute(
            f"INSERT INTO {links} SELECT row_id, list, parent_id, true FROM fresh_links"
            " ANTI JOIN known_link USING (row_id, list, parent_id)"
        )
    parameters = {"object": obj.name, "read_at": batch.read_at}
    connection.execute(
        "INSERT INTO raw_payloads SELECT $object, row_id, $read_at, _payload FROM differing",
        parameters,
    )
    connection.execute("INSERT INTO touched SELECT $object, row_id FROM differing", {"object": obj.name})
    # What still cannot be read has no last good value but the text that was published.
    connection.execute(
        "DELETE FROM kept_content WHERE object = $object AND row_id IN (SELECT row_id FROM differing)"
        " AND row_id NOT IN (SELECT unnest($unreadable::VARCHAR[]))",
        {"object": obj.name, "unreadable": [row.id for row in batch.rows if row.unreadable]},
    )
    if batch.defects:
        connection.executemany(
            "INSERT INTO quarantine (object, row_id, field, reason, seen_at, reading) VALUES (?, ?, ?, ?, ?, ?)",
            [[obj.name, d.row_id, d.field, d.reason, batch.read_at, batch.reading] for d in batch.defects],
        )
    return scalar(connection, "SELECT count(*) FROM differing")


def _mark_missing(
    connection: duckdb.DuckDBPyConnection, obj: CatalogObject, batch: Batch
) -> tuple[list[tuple[str, str]], set[str]]:
    """Make tombstones of known rows whose delete is proven, and set aside those that did not come twice.

    Returns rows that had been there until now, each with ``deleted``, or ``lost`` where nothing proves it; and the ids
    of rows that did not come for the first time.
    """
    if not batch.missing:
        return [], set()
    snapshot = _snapshot(obj)
    began = {"read_at": batch.read_at, "reading": batch.reading}
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE missing AS SELECT asked.row_id, _state AS was, _reading AS seen"
        f" FROM (SELECT unnest($ids::VARCHAR[]) AS row_id) AS asked"
        f" LEFT JOIN (FROM {snapshot} WHERE row_id IN (SELECT unnest($ids::VARCHAR[]))) AS row USING (row_id)"
        " WHERE was IS NULL OR (was <> 'deleted' AND coalesce(seen, 0) <= $reading)",
        {"reading": batch.reading, "ids": list(batch.missing)},
    )
    connection.execute(statement("classify_missing"), {"object": obj.name})
    asked = [entry for entry in batch.settled if entry.request.kind == "id"]
    came = {row.id for row in batch.rows}
    # Where a row is back that the last answer lacked, that answer was none, nor can the others it lacked be trusted.
    distrusted = any(entry.missed and entry.request.value in came for entry in asked)
    once = [entry.request.value for entry in asked if distrusted or not entry.missed]
    ask_again = set(_ids(connection, statement("missed_once"), {"object": obj.name, "asked_once": once}))
    connection.execute(
        "DELETE FROM classified WHERE was IS NULL OR row_id IN (SELECT unnest($ids::VARCHAR[]))",
        {"ids": list(ask_again)},
    )
    # Nobody is served a dimension: there is nothing to hold.
    ends = "state = 'deleted'" if not obj.dimension else "true"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE gone AS FROM classified WHERE {ends} AND state <> was")
    connection.execute(
        f"UPDATE {snapshot} AS row SET _state = gone.state, _merged_into = gone.survivor, _read_at = $read_at,"
        " _reading = $reading FROM gone WHERE gone.row_id = row.row_id",
        began,
    )
    connection.execute("INSERT INTO touched SELECT $object, row_id FROM gone", {"object": obj.name})
    if obj.dimension:
        news = "state <> was AND was = 'live'"
    else:
        resolve_deleted(connection, obj)
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE vanished AS FROM classified WHERE state = 'lost' AND was IN ('live', 'held')"
        )
        set_aside_vanished(connection, obj, batch.read_at)
        connection.execute(
            f"UPDATE {snapshot} SET _read_at = $read_at, _reading = $reading"
            " WHERE row_id IN (SELECT row_id FROM vanished)",
            began,
        )
        # One that vanished before and was asked for again is no news: rows that name each other would never be done.
        noted = "(state, was) = ('lost', 'live') AND row_id IN (SELECT row_id FROM set_aside)"
        news = f"(state = 'deleted' AND was IN ('live', 'held')) OR ({noted})"
    return connection.execute(f"SELECT row_id, state FROM classified WHERE {news}").fetchall(), ask_again


def _raise_requests(
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    obj: CatalogObject,
    batch: Batch,
    revived: list[str],
    gone: list[tuple[str, str]],
) -> None:
    """Rows that come or go take others with them, of which the CRM says nothing: ask for those."""
    now = utc_now()
    if not obj.dimension:
        request_mentions(connection, (row_id for row_id, _ in gone), "names a row that went", now)
        request_mentions(connection, revived, "names a row that came back", now)
        store_requests(
            connection,
            (
                r
                for row_id in revived
                for r in children_requests(catalog, obj.name, row_id, "hangs on a row that came back")
            ),
            now,
        )
    if batch.complete_since is not None:
        unmet = _ids(
            connection,
            f"SELECT row_id FROM {_snapshot(obj)} WHERE {PRESENT} AND coalesce(_reading, 0) <= ?",
            [batch.complete_since],
        )
        store_requests(connection, (ReadRequest.row(obj.name, i, "not met in a full load") for i in unmet), now)
    if batch.census is not None:
        drifted = dict(_compare_census(connection, obj, batch.census, batch.reading))
        store_requests(connection, (ReadRequest.row(obj.name, i, f"census: {why}") for i, why in drifted.items()), now)
        unread = _ids(
            connection,
            f"SELECT row_id FROM {_snapshot(obj)} WHERE {PRESENT} AND coalesce(_reading, 0) <= ?"
            " ORDER BY _reading NULLS FIRST LIMIT ?",
            [batch.reading, batch.links_to_read],
        )
        store_requests(
            connection, (ReadRequest.row(obj.name, i, "census: its links") for i in unread if i not in drifted), now
        )


def _compare_census(
    connection: duckdb.DuckDBPyConnection, obj: CatalogObject, census: Mapping[str, int | None], reading: int
) -> list[tuple[str, str]]:
    """Rows that we know otherwise than the CRM, and how; rows read since the census began are left out."""
    counted = pa.table(
        {"row_id": pa.array(list(census), pa.string()), "mod_id": pa.array(list(census.values()), pa.int64())}
    )
    connection.register("counted", counted)
    sql = statement("compare_census").replace("snapshot_table", _snapshot(obj))
    found = connection.execute(sql, {"reading": reading}).fetchall()
    connection.unregister("counted")
    return found


def _settle(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, batch: Batch, ask_again: set[str]) -> None:
    """Take entries that are answered off the work list; note why others stay on it."""
    missed = {*batch.missed, *(e for e in batch.settled if e.request.kind == "id" and e.request.value in ask_again)}
    settled = [entry for entry in batch.settled if entry not in missed]
    for entries, statement_ in (
        (settled, "DELETE FROM read_requests"),
        (missed, "UPDATE read_requests SET missed = coalesce(missed, 0) + 1, unanswered = false"),
        (batch.unanswered, "UPDATE read_requests SET unanswered = true"),
    ):
        _change_entries(connection, obj, entries, statement_)
    if batch.progress is not None:
        entry, position = batch.progress
        connection.execute(
            "UPDATE read_requests SET position = ? WHERE object = ? AND kind = 'all' AND requested_at = ?",
            [position, obj.name, entry.requested_at],
        )


def _change_entries(
    connection: duckdb.DuckDBPyConnection, obj: CatalogObject, entries: Collection[SettledRequest], change: str
) -> None:
    if not entries:
        return
    chosen = pa.table(
        {
            "kind": [entry.request.kind for entry in entries],
            "field": [entry.request.field for entry in entries],
            "value": [entry.request.value for entry in entries],
            "requested_at": pa.array([entry.requested_at for entry in entries], pa.timestamp("us")),
        }
    )
    connection.register("chosen_entries", chosen)
    connection.execute(
        f"{change} WHERE object = ? AND (kind, field, value, requested_at)"
        " IN (SELECT (kind, field, value, requested_at) FROM chosen_entries)",
        [obj.name],
    )
    connection.unregister("chosen_entries")


def _stored(value: Any) -> Any:
    return to_stored(value) if isinstance(value, datetime) else value


def _hash64(payload: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(payload, digest_size=8).digest(), "big")


def _snapshot(obj: CatalogObject) -> str:
    return snapshot_table(obj).name


def _ids(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[str]:
    return [str(row[0]) for row in connection.execute(sql, parameters).fetchall()]
