"""Bring the delta store up to the warehouse: publication after publication, or by a full copy where that cannot be.

The warehouse commits first; the store follows. After a crash in between, the next run finds the store behind and goes
on from there; a publication the store already has is never applied twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import duckdb

from delta_service.store import changes
from delta_service.store.errors import ChangeSetError, StoreDamagedError
from delta_service.store.writer import DeltaStoreWriter
from orchestration.catalog import Catalog
from orchestration.pipeline.attached import another_connection
from orchestration.pipeline.migrate import retired_objects
from orchestration.pipeline.warehouse import newest_seq, read_state, statement

ROWS_PER_FETCH = 2_000


@dataclass(frozen=True)
class ReplicationResult:
    """How the store was brought up to date; ``full_copy`` tells that its content was replaced."""

    published_seq: int
    applied: int
    full_copy: bool
    repaired: str | None = None
    """What was wrong with the store, where that is why its content was replaced."""


def replicate(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, writer: DeltaStoreWriter, *, full_copy: bool = False
) -> ReplicationResult:
    """Apply what the store lacks, then tell it territories' names and how fresh it is.

    A store that holds nothing yet gets a full copy, which costs the same however long the history is; so does one that
    is found to be damaged.
    """
    try:
        return _follow(connection, catalog, writer, full_copy=full_copy)
    except (StoreDamagedError, ChangeSetError) as error:
        if full_copy:
            raise
        return replace(_follow(connection, catalog, writer, full_copy=True), repaired=str(error))


def _follow(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, writer: DeltaStoreWriter, *, full_copy: bool
) -> ReplicationResult:
    identity = _identity(connection, catalog)
    newest = newest_seq(connection)
    applied = 0
    # A full copy asks nothing of the store, which may be damaged.
    if full_copy or _needs_full_copy(connection, writer, identity, newest):
        with another_connection(connection) as cursor:
            writer.replace(_full_copy(cursor, identity))
        full_copy = True
    else:
        writer.initialise(identity)
        for seq in range(writer.published_seq + 1, newest + 1):
            writer.apply(_change_set(connection, seq))
            applied += 1
    writer.set_territories(served_territories(connection))
    as_of = read_state(connection, "as_of")
    if as_of is not None:
        writer.confirm_as_of(datetime.fromisoformat(as_of).replace(tzinfo=UTC))
    return ReplicationResult(newest, applied, full_copy)


def _needs_full_copy(
    connection: duckdb.DuckDBPyConnection, writer: DeltaStoreWriter, identity: changes.StoreIdentity, newest: int
) -> bool:
    replayable_from = int(read_state(connection, "body_horizon_seq") or 0)
    behind_history = not replayable_from <= writer.published_seq <= newest
    holds_nothing = writer.published_seq == 0 < newest
    other_shape = writer.epoch is not None and (
        writer.epoch != identity.epoch or tuple(writer.objects) != tuple(identity.objects)
    )
    return other_shape or behind_history or holds_nothing


def _identity(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> changes.StoreIdentity:
    epoch, key = read_state(connection, "epoch"), read_state(connection, "cursor_key")
    assert epoch is not None
    assert key is not None
    objects = (*(obj.name for obj in catalog.served), *retired_objects(connection))
    return changes.StoreIdentity(epoch, bytes.fromhex(key), objects)


def _change_set(connection: duckdb.DuckDBPyConnection, seq: int) -> changes.ChangeSet:
    parameters = {"seq": seq}
    (row,) = _rows(connection, "SELECT seq, as_of, published_at FROM publication WHERE seq = $seq", parameters)
    return changes.ChangeSet(
        publication=_publication(row),
        rows=_rows(connection, statement("published_rows"), parameters),
        visibility=connection.sql(statement("published_moves"), params=parameters).to_arrow_table(),
        heads=_rows(
            connection, "SELECT territory, object, rows, digest FROM territory_head WHERE from_seq = $seq", parameters
        ),
        held=_held(_rows(connection, statement("published_held"), parameters)),
    )


def _full_copy(cursor: duckdb.DuckDBPyConnection, identity: changes.StoreIdentity) -> changes.FullCopy:
    """Each query is made when its rows are asked for, all in one transaction: numbers mean the same in each."""
    cursor.begin()
    cursor.execute(statement("number_rows"), {"objects": list(identity.objects), "open": changes.OPEN_SEQ})
    return changes.FullCopy(
        identity=identity,
        horizon_seq=int(read_state(cursor, "horizon_seq") or 0),
        publications=(
            _publication(r)
            for r in _fetched(cursor, "SELECT seq, as_of, published_at FROM publication ORDER BY seq", {})
        ),
        rows=_fetched(cursor, "SELECT object, row_id, merged_into FROM numbered_row ORDER BY number", {}),
        bodies=_fetched(cursor, "SELECT rowid + 1, encode(body) FROM row_body", {}),
        versions=_fetched(cursor, statement("numbered_versions"), {}),
        visibility=_fetched(cursor, statement("numbered_visibility"), {"open": changes.OPEN_SEQ}),
        heads=_fetched(
            cursor,
            "SELECT territory, object, from_seq, rows, digest FROM territory_head ORDER BY territory, object, from_seq",
            {},
        ),
        held=_held(
            _fetched(
                cursor,
                "SELECT territory, object, rows, since FROM territory_held WHERE to_seq = $open",
                {"open": changes.OPEN_SEQ},
            )
        ),
    )


def _held(rows: Iterator[tuple[Any, ...]]) -> Iterator[changes.TerritoryHeld]:
    for territory, name, count, since in rows:
        yield changes.TerritoryHeld(territory, name, count, since.replace(tzinfo=UTC))


def _publication(row: tuple[Any, ...]) -> changes.Publication:
    seq, as_of, published_at = row
    return changes.Publication(seq, as_of.replace(tzinfo=UTC), published_at.replace(tzinfo=UTC))


def served_territories(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str | None]]:
    """Ids and names of the CRM's territories."""
    return connection.execute("SELECT territory, name FROM territory ORDER BY territory").fetchall()


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Iterator[Any]:
    """Rows of a query as tuples, some at a time, on a cursor of its own so that several may be open."""
    return _fetched(another_connection(connection), sql, parameters)


def _fetched(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Iterator[Any]:
    cursor.execute(sql, parameters)
    while rows := cursor.fetchmany(ROWS_PER_FETCH):
        yield from rows
