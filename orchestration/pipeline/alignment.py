"""A re-alignment before anybody does it in the CRM: what it would move, and how the mass-delete guard learns of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.markdown import table_lines
from orchestration.pipeline.schema import PRESENT, quoted, snapshot_table
from orchestration.pipeline.visibility import derive_visibility
from orchestration.pipeline.warehouse import newest_seq, statement, transaction

COLUMNS = ["account", "from", "to"]


class AlignmentFileError(ValueError):
    """The file cannot be used; the message names the line."""


@dataclass(frozen=True)
class Move:
    """An account's territory before and after, by id; ``None`` is no territory."""

    account: str
    source: str | None
    target: str | None


@dataclass(frozen=True)
class Effect:
    """What a re-alignment does to one object in one territory: rows, and bytes of JSON that devices will fetch."""

    territory: str
    object: str
    enter_rows: int
    enter_bytes: int
    leave_rows: int


@dataclass(frozen=True)
class Touched:
    """Accounts that an alignment names, and the territories they leave, enter, or are in now by what we know."""

    accounts: tuple[str, ...]
    territories: tuple[str, ...]


def read_alignment(connection: duckdb.DuckDBPyConnection, catalog: Catalog, path: Path) -> list[Move]:
    """Moves of a CSV file with the columns account, from, to; territories by id or by name.

    Raises :class:`AlignmentFileError` for whatever does not fit what the warehouse knows.
    """
    accounts = accounts_by_territory(connection, catalog)
    moves = []
    for where, move in _moves(connection, path.read_text(encoding="utf-8-sig"), str(path)):
        if move.account not in accounts:
            raise AlignmentFileError(f"{where}: there is no account {move.account}")
        if move.source != accounts[move.account]:
            now = accounts[move.account] or "no territory"
            raise AlignmentFileError(f"{where}: account {move.account} is in {now} now")
        moves.append(move)
    return moves


def touched_by(connection: duckdb.DuckDBPyConnection, catalog: Catalog, text: str, name: str) -> Touched:
    """What a CSV text with the columns account, from, to touches, whether or not the CRM has done it yet.

    ``name`` stands for the text in messages. Raises :class:`AlignmentFileError`.
    """
    accounts = accounts_by_territory(connection, catalog)
    moves = [move for _, move in _moves(connection, text, name)]
    ends = (end for move in moves for end in (move.source, move.target, accounts.get(move.account)))
    return Touched(tuple(move.account for move in moves), tuple(dict.fromkeys(end for end in ends if end)))


def _moves(connection: duckdb.DuckDBPyConnection, text: str, name: str) -> Iterator[tuple[str, Move]]:
    """Each line's place, and its move."""
    territories = dict(
        connection.execute(
            "SELECT name, territory FROM territory UNION SELECT territory, territory FROM territory"
        ).fetchall()
    )
    seen: set[str] = set()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if reader.fieldnames != COLUMNS:
        raise AlignmentFileError(f"{name}:1: the columns must be {', '.join(COLUMNS)}")
    for row in reader:
        where = f"{name}:{reader.line_num}"
        account = row["account"] or ""
        if account in seen:
            raise AlignmentFileError(f"{where}: account {account} stands in the file twice")
        seen.add(account)
        ends = []
        for column in COLUMNS[1:]:
            if row[column] and row[column] not in territories:
                raise AlignmentFileError(f"{where}: there is no territory {row[column]}")
            ends.append(territories[row[column]] if row[column] else None)
        yield where, Move(account, *ends)


def accounts_by_territory(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> dict[str, str | None]:
    """The territory of every account that lives."""
    root, field = aligned_object(catalog)
    return dict(
        connection.execute(
            f"SELECT row_id, {quoted(field)} FROM {snapshot_table(root).name} WHERE {PRESENT}"
        ).fetchall()
    )


def dry_run(connection: duckdb.DuckDBPyConnection, catalog: Catalog, moves: Sequence[Move]) -> list[Effect]:
    """What the moves would do, worked out by the real derivation and then rolled back."""
    connection.execute("BEGIN TRANSACTION")
    try:
        seq = newest_seq(connection) + 1
        connection.execute("CREATE OR REPLACE TEMP TABLE move (row_id VARCHAR, target VARCHAR)")
        connection.executemany("INSERT INTO move VALUES (?, ?)", [[move.account, move.target] for move in moves])
        root, field = aligned_object(catalog)
        connection.execute(
            f"UPDATE {snapshot_table(root).name} AS row SET {quoted(field)} = move.target"
            " FROM move WHERE row.row_id = move.row_id"
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE changed AS SELECT $object AS object, row_id FROM move", {"object": root.name}
        )
        derive_visibility(connection, catalog, seq)
        return [Effect(*row) for row in connection.execute(statement("alignment_effects"), {"seq": seq}).fetchall()]
    finally:
        connection.execute("ROLLBACK")


def announce(connection: duckdb.DuckDBPyConnection, moves: Sequence[Move], reason: str, now: datetime) -> None:
    """Let these moves, and all that hangs on the accounts, pass the mass-delete guard when they come."""
    with transaction(connection):
        connection.executemany(
            "INSERT INTO announced_move (row_id, source, target, announced_at, reason) VALUES (?, ?, ?, ?, ?)",
            [[move.account, move.source, move.target, now, reason] for move in moves if move.source],
        )


def aligned_object(catalog: Catalog) -> tuple[CatalogObject, str]:
    """The object that is aligned, and its territory field: the first that reaches a territory by a field of its own."""
    for obj in catalog.served:
        for route in obj.visibility:
            if route.territory_field:
                return obj, route.territory_field
    raise AlignmentFileError("the catalog has no object with a territory field: there is nothing to align by file")


def as_markdown(effects: Sequence[Effect]) -> str:
    """Rows and bytes for each territory and object."""
    rows = [(e.territory, e.object, e.enter_rows, e.enter_bytes, e.leave_rows) for e in effects]
    territories = len({effect.territory for effect in effects})
    entering, size = sum(e.enter_rows for e in effects), sum(e.enter_bytes for e in effects)
    leaving = sum(e.leave_rows for e in effects)
    total = f"{territories} territories: {entering} rows ({size} bytes) enter, {leaving} leave."
    return "\n".join([total, "", *table_lines("territory|object|rows in|bytes in|rows out", rows)])
