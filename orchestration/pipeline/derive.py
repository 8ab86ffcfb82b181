"""Derive a publication: from rows whose snapshot changed to closed and opened intervals, in one transaction.

Only what a change can reach is recomputed: the rows read anew, and, level by level with parents first, the rows that
hang on a row whose territories changed. ``recompute_*`` in ``verify`` says the same from nothing.

Rows of large tables are found by ``row_id`` alone, and what else must hold is put as one comparison of several columns:
DuckDB uses an index only where nothing but the indexed column is restricted by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.guard import Guard, accept_proven, decide, doubtful_losses, has_doubts, is_due, record_held
from orchestration.pipeline.migrate import keep_last_good
from orchestration.pipeline.requests import TO_BE_READ
from orchestration.pipeline.schema import PRESENT, snapshot_table
from orchestration.pipeline.views import body_expression
from orchestration.pipeline.visibility import derive_visibility, objects_in
from orchestration.pipeline.warehouse import newest_seq, read_state, scalar, statement, transaction, write_state


class NothingReadError(RuntimeError):
    """There is no watermark: nothing can be published."""


class ReadsPendingError(RuntimeError):
    """Rows remain to be read, so a publication would claim more than it holds."""


@dataclass(frozen=True)
class PublicationResult:
    """Counts are per territory: a row that enters two territories counts twice."""

    seq: int
    territories: int
    inserted: int
    updated: int
    deleted: int


def derive(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, *, as_of: datetime, now: datetime, guard: Guard
) -> PublicationResult | None:
    """Turn what was touched into the next publication; ``None`` if nothing that devices are told differs.

    ``as_of`` and ``now`` are UTC without zone. What the guard holds is left out; everything else is published. Raises
    :class:`ReadsPendingError`.
    """
    # What the CRM gave no sound answer about keeps its last content, and is asked for again by the next run.
    pending = scalar(connection, f"SELECT count(*) FROM read_requests WHERE {TO_BE_READ}")
    if pending:
        raise ReadsPendingError(
            f"{pending} reads from the CRM are not done, so nothing was published. Run the job again: it goes on there."
        )
    guarded = has_doubts(connection)
    if guarded:
        with transaction(connection):
            accept_proven(connection, catalog)
    losses = doubtful_losses(connection, catalog) if guarded and is_due(connection) else None
    with transaction(connection):
        seq = newest_seq(connection) + 1
        if losses is not None:
            decide(connection, catalog, losses, guard, now)
        connection.execute("CREATE OR REPLACE TEMP TABLE changed AS SELECT DISTINCT object, row_id FROM touched")
        derive_visibility(connection, catalog, seq)
        new_or_ended = _derive_content(connection, catalog, seq, now)
        connection.execute(statement("delta"))
        told = guarded and record_held(connection, seq, now, decided=losses is not None)
        return _record_publication(connection, seq, as_of, now, new_or_ended, told)


def read_as_of(connection: duckdb.DuckDBPyConnection) -> datetime:
    """Everything that changed in the CRM before this has been read; UTC without zone. Raises :class:`NothingReadError`.

    That is the watermark. While a read has no sound answer yet, it is the time of the last publication instead.
    """
    watermark = read_state(connection, "watermark")
    if watermark is None:
        raise NothingReadError("Nothing has been read from the CRM yet. Run the job full_load.")
    unanswered = scalar(connection, f"SELECT count(*) FROM read_requests WHERE NOT ({TO_BE_READ})")
    published = read_state(connection, "as_of") if unanswered else None
    return datetime.fromisoformat(published or watermark)


def _derive_content(connection: duckdb.DuckDBPyConnection, catalog: Catalog, seq: int, now: datetime) -> int:
    """Close and open versions of the rows of temp table ``changed``; returns how many were."""
    changed = objects_in(connection, "changed")
    contents = [_content_of_changed(obj) for obj in catalog.served if obj.name in changed]
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE content"
        " (object VARCHAR, row_id VARCHAR, body VARCHAR, version_text VARCHAR, version UBIGINT)"
    )
    if contents:
        connection.execute("INSERT INTO content " + " UNION ALL ".join(contents))
        keep_last_good(connection, now)
    connection.execute(statement("held_versions"), {"open": OPEN_SEQ})
    connection.execute(statement("new_versions"))
    ended = scalar(connection, statement("close_versions"), {"seq": seq})
    opened = scalar(connection, statement("open_versions"), {"seq": seq, "open": OPEN_SEQ})
    connection.execute(statement("store_bodies"), {"seq": seq})
    return ended + opened


def _content_of_changed(obj: CatalogObject) -> str:
    """Bodies of changed rows of one object; written so that no other row's body is built."""
    return (
        "SELECT object, row_id, body, version_text, ('0x' || version_text)::UBIGINT FROM ("
        f" SELECT '{obj.name}' AS object, row_id, {body_expression(obj)} AS body,"
        " substr(sha256(body), 1, 16) AS version_text"
        f" FROM (FROM {snapshot_table(obj).name}"
        f" WHERE row_id IN (SELECT row_id FROM changed WHERE object = '{obj.name}')"
        f" AND (row_id, {PRESENT}) = (row_id, true)))"
    )


def _record_publication(
    connection: duckdb.DuckDBPyConnection,
    seq: int,
    as_of: datetime,
    now: datetime,
    new_or_ended_versions: int,
    held_changed: bool,
) -> PublicationResult | None:
    connection.execute("DELETE FROM touched")
    write_state(connection, "as_of", as_of.isoformat())
    counts = connection.execute(statement("publication_counts")).fetchall()[0]
    territories, inserted, updated, deleted = (int(count) for count in counts)
    if not (new_or_ended_versions or inserted or deleted or held_changed):
        return None
    bounds = {"seq": seq, "open": OPEN_SEQ}
    connection.execute("INSERT INTO territory_delta SELECT ?, territory, object, row_id, operation FROM delta", [seq])
    connection.execute(statement("new_heads"), {"open": OPEN_SEQ})
    connection.execute(statement("close_heads"), bounds)
    connection.execute(statement("open_heads"), bounds)
    connection.execute(
        "INSERT INTO publication VALUES (?, ?, ?, ?, ?, ?, ?)",
        [seq, as_of, now, territories, inserted, updated, deleted],
    )
    connection.execute(statement("delete_announced_moves"))
    return PublicationResult(seq, territories, inserted, updated, deleted)
