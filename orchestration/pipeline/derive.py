"""Derive a publication: from rows whose snapshot changed to closed and opened intervals, in one transaction.

Only what a change can reach is recomputed: the rows read anew, and, object by object with parents first, the rows that
hang on a row whose territories changed. ``recompute_*`` in ``verify`` says the same from nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.requests import ReadRequest, store_requests
from orchestration.pipeline.schema import snapshot_table
from orchestration.pipeline.views import body_expression
from orchestration.pipeline.warehouse import read_state, scalar, statement, transaction, write_state


class PublicationHeldError(RuntimeError):
    """The mass-delete guard stopped a publication; nothing was published."""


class NothingReadError(RuntimeError):
    """There is no watermark: nothing can be published."""


class ReadsPendingError(RuntimeError):
    """Rows remain to be read, so a publication would claim more than it holds."""


@dataclass(frozen=True)
class Guard:
    """A publication is held if a territory, or the whole, would lose more than this at once."""

    max_share: float
    min_rows: int


@dataclass(frozen=True)
class Loss:
    """Rows that one territory (``*``: all together) would lose."""

    territory: str
    deletes: int
    rows: int


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
    """Turn what was touched into the next publication; ``None`` if no served row or membership differs.

    ``as_of`` and ``now`` are UTC without zone. Raises :class:`ReadsPendingError`, and :class:`PublicationHeldError`
    after recording what is held.
    """
    pending = scalar(connection, "SELECT count(*) FROM read_requests")
    if pending:
        raise ReadsPendingError(
            f"{pending} reads from the CRM are not done, so nothing was published. Run the job again: it goes on there."
        )
    connection.execute("BEGIN TRANSACTION")
    try:
        seq = scalar(connection, "SELECT coalesce(max(seq), 0) + 1 FROM publication")
        _derive_content(connection, catalog, seq)
        derive_visibility(connection, catalog, seq)
        held = _held(connection, seq, guard)
        result = None if held else _record_publication(connection, seq, as_of, now)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    if held:
        connection.execute("ROLLBACK")
        _hold(connection, held, now)
        raise PublicationHeldError(_held_message(held, guard))
    connection.execute("COMMIT")
    return result


def read_as_of(connection: duckdb.DuckDBPyConnection) -> datetime:
    """The watermark: everything that changed in the CRM before it has been read. Raises :class:`NothingReadError`."""
    watermark = read_state(connection, "watermark")
    if watermark is None:
        raise NothingReadError("Nothing has been read from the CRM yet. Run the job full_load.")
    return datetime.fromisoformat(watermark)


def release_held(connection: duckdb.DuckDBPyConnection, reason: str, now: datetime) -> list[Loss]:
    """Let the held publication pass; raises ``ValueError`` when none is held. Takes effect with the next ``sync``."""
    rows = connection.execute(
        "UPDATE held_publication SET released_at = ?, released_because = ?"
        " WHERE released_at IS NULL RETURNING territory, deletes, rows",
        [now, reason],
    ).fetchall()
    if not rows:
        raise ValueError("no publication is held")
    return [Loss(*row) for row in rows]


def reject_held(connection: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Read again whatever the held publication is made of; returns the number of rows. The next ``sync`` goes by that.

    Raises ``ValueError`` when none is held. The caller holds the transaction.
    """
    if not scalar(connection, "SELECT count(*) FROM held_publication WHERE released_at IS NULL"):
        raise ValueError("no publication is held")
    connection.execute("DELETE FROM held_publication WHERE released_at IS NULL")
    rows = connection.execute("SELECT DISTINCT object, row_id FROM touched").fetchall()
    store_requests(
        connection, (ReadRequest.row(obj, row_id, "a held change was rejected") for obj, row_id in rows), now
    )
    return len(rows)


def _derive_content(connection: duckdb.DuckDBPyConnection, catalog: Catalog, seq: int) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE changed AS SELECT DISTINCT object, row_id FROM touched")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE content"
        " (object VARCHAR, row_id VARCHAR, body VARCHAR, version_text VARCHAR, version UBIGINT)"
    )
    for obj in catalog.served:
        connection.execute(_content_of_changed(obj))
    bounds = {"seq": seq, "open": OPEN_SEQ}
    connection.execute(statement("close_versions"), bounds)
    connection.execute(statement("open_versions"), bounds)
    connection.execute(statement("store_bodies"), {"seq": seq})


def _content_of_changed(obj: CatalogObject) -> str:
    """Bodies of changed rows of one object; written so that no other row's body is built."""
    return (
        "INSERT INTO content"
        " SELECT object, row_id, body, version_text, ('0x' || version_text)::UBIGINT FROM ("
        f" SELECT '{obj.name}' AS object, row_id, {body_expression(obj)} AS body,"
        " substr(sha256(body), 1, 16) AS version_text"
        f" FROM (FROM {snapshot_table(obj).name} WHERE _state = 'live'"
        f" AND row_id IN (SELECT row_id FROM changed WHERE object = '{obj.name}')))"
    )


def derive_visibility(connection: duckdb.DuckDBPyConnection, catalog: Catalog, seq: int) -> None:
    """Close and open intervals for the rows of temp table ``changed`` and for all that hangs on them."""
    connection.execute("CREATE OR REPLACE TEMP TABLE moved (object VARCHAR, row_id VARCHAR)")
    for obj in catalog.served:
        name = {"object": obj.name}
        interval = {**name, "seq": seq, "open": OPEN_SEQ}
        connection.execute("CREATE OR REPLACE TEMP TABLE affected (row_id VARCHAR)")
        connection.execute("CREATE OR REPLACE TEMP TABLE wanted (territory VARCHAR, row_id VARCHAR)")
        connection.execute(statement("affected_rows"), name)
        connection.execute(statement("wanted_visibility"), {**name, "open": OPEN_SEQ})
        connection.execute(statement("close_visibility"), interval)
        connection.execute(statement("open_visibility"), interval)
        connection.execute(statement("moved_rows"), {**name, "seq": seq})


def _record_publication(
    connection: duckdb.DuckDBPyConnection, seq: int, as_of: datetime, now: datetime
) -> PublicationResult | None:
    connection.execute("DELETE FROM touched")
    write_state(connection, "as_of", as_of.isoformat())
    bounds = {"seq": seq, "open": OPEN_SEQ}
    connection.execute(statement("territory_changes"), bounds)
    content_changes = scalar(connection, f"SELECT count(*) FROM row_version WHERE from_seq = {seq} OR to_seq = {seq}")
    counts = connection.execute(statement("publication_counts"), {"seq": seq}).fetchall()[0]
    territories, inserted, updated, deleted = (int(count) for count in counts)
    if not (content_changes or inserted or deleted):
        return None
    connection.execute(statement("new_heads"), bounds)
    connection.execute(statement("close_heads"), bounds)
    connection.execute(statement("open_heads"), bounds)
    connection.execute(
        "INSERT INTO publication VALUES (?, ?, ?, ?, ?, ?, ?)",
        [seq, as_of, now, territories, inserted, updated, deleted],
    )
    connection.execute(
        "UPDATE held_publication SET published_seq = ? WHERE released_at IS NOT NULL AND published_seq IS NULL", [seq]
    )
    connection.execute(statement("delete_announced_moves"), {"seq": seq})
    return PublicationResult(seq, territories, inserted, updated, deleted)


def _held(connection: duckdb.DuckDBPyConnection, seq: int, guard: Guard) -> list[Loss]:
    """Losses beyond the guard's share that nobody released."""
    losses = [
        Loss(*row)
        for row in connection.execute(
            statement("losses_beyond_share"),
            {"seq": seq, "open": OPEN_SEQ, "max_share": guard.max_share, "min_rows": guard.min_rows},
        ).fetchall()
    ]
    released = dict(
        connection.execute(
            "SELECT territory, deletes FROM held_publication WHERE released_at IS NOT NULL AND published_seq IS NULL"
        ).fetchall()
    )
    # What trickled in since the release must not hold the same change again.
    return [loss for loss in losses if loss.deletes > released.get(loss.territory, -1) + guard.min_rows]


def _hold(connection: duckdb.DuckDBPyConnection, losses: list[Loss], now: datetime) -> None:
    with transaction(connection):
        connection.execute("DELETE FROM held_publication WHERE released_at IS NULL")
        connection.executemany(
            "INSERT INTO held_publication (held_at, territory, deletes, rows) VALUES (?, ?, ?, ?)",
            [[now, loss.territory, loss.deletes, loss.rows] for loss in losses],
        )


def _held_message(losses: list[Loss], guard: Guard) -> str:
    worst = ", ".join(
        f"{'all territories together' if loss.territory == '*' else loss.territory}: {loss.deletes} of {loss.rows}"
        for loss in losses[:5]
    )
    return (
        f"Held, not published: devices would lose more than {guard.max_share:.0%} of their rows at once ({worst}"
        f"{', ...' if len(losses) > 5 else ''}). Look at table held_publication. If the change is meant, run the job "
        "release_held_publication with a reason; if not, mend it in the CRM, and run reject_held_publication: the next "
        "sync reads those rows again."
    )
