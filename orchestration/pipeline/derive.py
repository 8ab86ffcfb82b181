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
from orchestration.pipeline.migrate import keep_last_good, leave_territories
from orchestration.pipeline.requests import ReadRequest, store_requests
from orchestration.pipeline.schema import snapshot_table
from orchestration.pipeline.views import Edges, body_expression, compile_affected, compile_standing, standing
from orchestration.pipeline.warehouse import (
    MOST_ROWS_LOOKED_UP,
    newest_seq,
    read_state,
    scalar,
    statement,
    transaction,
    write_state,
)


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
        seq = newest_seq(connection) + 1
        connection.execute("CREATE OR REPLACE TEMP TABLE changed AS SELECT DISTINCT object, row_id FROM touched")
        derive_visibility(connection, catalog, seq)
        new_or_ended = _derive_content(connection, catalog, seq, now)
        connection.execute(statement("delta"))
        held = _held(connection, guard)
        result = None if held else _record_publication(connection, seq, as_of, now, new_or_ended)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    if held:
        connection.execute("ROLLBACK")
        _hold(connection, held, now)
        raise PublicationHeldError(_held_message(held, guard, _names(connection)))
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


def _derive_content(connection: duckdb.DuckDBPyConnection, catalog: Catalog, seq: int, now: datetime) -> int:
    """Close and open versions of the rows of temp table ``changed``; returns how many were."""
    changed = _objects_in(connection, "changed")
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
        " AND (row_id, _state) = (row_id, 'live')))"
    )


def derive_visibility(connection: duckdb.DuckDBPyConnection, catalog: Catalog, seq: int) -> None:
    """Close and open intervals for the rows of temp table ``changed`` and for all that hangs on them.

    Leaves temp table ``membership``: each row looked at in each territory, and whether it is an insert, delete or keep.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE membership"
        " (level INTEGER, object VARCHAR, territory VARCHAR, row_id VARCHAR, place BIGINT, operation VARCHAR)"
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE moved (object VARCHAR, row_id VARCHAR)")
    changed, moved = _objects_in(connection, "changed"), set[str]()
    if retired := changed - {obj.name for obj in catalog.served}:
        leave_territories(connection, retired)
        connection.execute(statement("close_visibility"), {"level": -1, "seq": seq})
    for level, objects in _levels(catalog).items():
        concerned = [obj for obj in objects if obj.name in changed or not moved.isdisjoint(obj.parents)]
        affected = scalar(connection, compile_affected(concerned)) if concerned else 0
        if not affected:
            continue
        for gather in compile_standing(concerned):
            connection.execute(gather)
        edges = Edges.compile(concerned, standing)
        membership = (
            statement("membership")
            .replace("territory_edge", f"({edges.territory})")
            .replace("parent_edge", f"({edges.parent})")
        )
        at = {"level": level}
        connection.execute(membership, {**at, "open": OPEN_SEQ, "many": affected > MOST_ROWS_LOOKED_UP})
        if scalar(connection, statement("moved"), at):
            connection.execute(statement("close_visibility"), {**at, "seq": seq})
            connection.execute(statement("open_visibility"), {**at, "seq": seq, "open": OPEN_SEQ})
            moved = _objects_in(connection, "moved")


def _levels(catalog: Catalog) -> dict[int, list[CatalogObject]]:
    """Objects by the length of their longest way up: the parents of each are on lower levels."""
    level: dict[str, int] = {}
    levels: dict[int, list[CatalogObject]] = {}
    for obj in catalog.served:
        level[obj.name] = 1 + max((level[parent] for parent in obj.parents), default=-1)
        levels.setdefault(level[obj.name], []).append(obj)
    return levels


def _objects_in(connection: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    return {str(row[0]) for row in connection.execute(f"SELECT DISTINCT object FROM {table}").fetchall()}


def _record_publication(
    connection: duckdb.DuckDBPyConnection, seq: int, as_of: datetime, now: datetime, new_or_ended_versions: int
) -> PublicationResult | None:
    connection.execute("DELETE FROM touched")
    write_state(connection, "as_of", as_of.isoformat())
    counts = connection.execute(statement("publication_counts")).fetchall()[0]
    territories, inserted, updated, deleted = (int(count) for count in counts)
    if not (new_or_ended_versions or inserted or deleted):
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
    connection.execute(
        "UPDATE held_publication SET published_seq = ? WHERE released_at IS NOT NULL AND published_seq IS NULL", [seq]
    )
    connection.execute(statement("delete_announced_moves"))
    return PublicationResult(seq, territories, inserted, updated, deleted)


def _held(connection: duckdb.DuckDBPyConnection, guard: Guard) -> list[Loss]:
    """Losses beyond the guard's share that nobody announced or released."""
    # Who takes an object out of the catalog means it: the guard lets its rows go.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE announced_loss AS SELECT territory, object, row_id FROM membership"
        " WHERE level = -1"
    )
    if scalar(connection, "SELECT count(*) FROM announced_move"):
        connection.execute(statement("announced_losses"))
    losses = [
        Loss(*row)
        for row in connection.execute(
            statement("losses_beyond_share"),
            {"open": OPEN_SEQ, "max_share": guard.max_share, "min_rows": guard.min_rows},
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


def _names(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """How people call territories."""
    return {"*": "all territories together"} | {
        territory: f"{name} ({territory})" if name else territory
        for territory, name in connection.execute("SELECT territory, name FROM territory").fetchall()
    }


def _held_message(losses: list[Loss], guard: Guard, names: dict[str, str]) -> str:
    worst = ", ".join(
        f"{names.get(loss.territory, loss.territory)}: {loss.deletes} of {loss.rows}" for loss in losses[:5]
    )
    return (
        f"Held, not published: devices would lose more than {guard.max_share:.0%} of their rows at once ({worst}"
        f"{', ...' if len(losses) > 5 else ''}). If the change is meant, run the job "
        "release_held_publication with a reason; if not, mend it in the CRM, and run reject_held_publication: the next "
        "sync reads those rows again."
    )
