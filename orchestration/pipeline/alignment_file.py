"""A CSV file that says which account goes from which territory to which: read against what the warehouse knows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.schema import PRESENT, quoted, snapshot_table
from orchestration.pipeline.wording import called

COLUMNS = ["account", "from", "to"]


class AlignmentFileError(ValueError):
    """The file cannot be used; the message names every line that is wrong."""


@dataclass(frozen=True)
class Move:
    """An account's territory before and after, by id; ``None`` is no territory."""

    account: str
    source: str | None
    target: str | None


@dataclass(frozen=True)
class Touched:
    """Accounts that an alignment names, and the territories they leave, enter, or are in now by what we know."""

    accounts: tuple[str, ...]
    territories: tuple[str, ...]


def read_alignment(connection: duckdb.DuckDBPyConnection, catalog: Catalog, path: Path) -> list[Move]:
    """Moves of a CSV file with the columns account, from, to; territories by id or by name.

    Raises :class:`AlignmentFileError` with all lines that do not fit what the warehouse knows.
    """
    accounts, names, known = accounts_by_territory(connection, catalog), _names(connection), _Territories(connection)
    moves, wrong = [], []
    for where, move in _lines(path.read_text(encoding="utf-8-sig"), str(path), known):
        if isinstance(move, str):
            wrong.append(f"{where}: {move}")
        elif move.account not in accounts:
            wrong.append(f"{where}: there is no account {move.account}")
        elif move.source != accounts[move.account]:
            account, now = called(move.account, names.get(move.account)), known.called(accounts[move.account])
            wrong.append(f"{where}: account {account} is in {now} now, not in {known.called(move.source)}")
        else:
            moves.append(move)
    _refuse(wrong)
    return moves


def touched_by(connection: duckdb.DuckDBPyConnection, catalog: Catalog, text: str, name: str) -> Touched:
    """What a CSV text with the columns account, from, to touches, whether or not the CRM has done it yet.

    ``name`` stands for the text in messages. Raises :class:`AlignmentFileError`.
    """
    accounts = accounts_by_territory(connection, catalog)
    lines = list(_lines(text, name, _Territories(connection)))
    _refuse([f"{where}: {move}" for where, move in lines if isinstance(move, str)])
    moves = [move for _, move in lines if isinstance(move, Move)]
    ends = (end for move in moves for end in (move.source, move.target, accounts.get(move.account)))
    return Touched(tuple(move.account for move in moves), tuple(dict.fromkeys(end for end in ends if end)))


class _Territories:
    """What a file may call a territory."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._names: Mapping[str, str | None] = dict(
            connection.execute("SELECT territory, name FROM territory").fetchall()
        )
        self._ids: dict[str, list[str]] = {}
        for territory, name in self._names.items():
            for text in {territory, name or territory}:
                self._ids.setdefault(text, []).append(territory)

    def resolve(self, text: str) -> str:
        """Raises ``ValueError`` for an unknown one, and for a name that several have."""
        found = self._ids.get(text, [])
        if len(found) == 1:
            return found[0]
        raise ValueError(
            f"{text} names {len(found)} territories: give the id" if found else f"there is no territory {text}"
        )

    def called(self, territory: str | None) -> str:
        return called(territory, self._names.get(territory)) if territory else "no territory"


def _lines(text: str, name: str, territories: _Territories) -> Iterator[tuple[str, Move | str]]:
    """Each line's place, and its move or what is wrong with it."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if reader.fieldnames != COLUMNS:
        raise AlignmentFileError(f"{name}:1: the columns must be {', '.join(COLUMNS)}")
    seen: set[str] = set()
    for row in reader:
        account = row["account"] or ""
        where, again = f"{name}:{reader.line_num}", account in seen
        seen.add(account)
        if again:
            yield where, f"account {account} is listed twice"
            continue
        try:
            ends = [territories.resolve(row[column]) if row[column] else None for column in COLUMNS[1:]]
        except ValueError as error:
            yield where, str(error)
            continue
        yield where, Move(account, *ends)


def _refuse(wrong: list[str]) -> None:
    if wrong:
        count = "1 line" if len(wrong) == 1 else f"{len(wrong)} lines"
        raise AlignmentFileError("\n".join([f"{count} cannot be used:", *wrong]))


def _names(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    return dict(connection.execute("SELECT row_id, name FROM row_name").fetchall())


def accounts_by_territory(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> dict[str, str | None]:
    """The territory of every account that lives."""
    root, field = aligned_object(catalog)
    return dict(
        connection.execute(
            f"SELECT row_id, {quoted(field)} FROM {snapshot_table(root).name} WHERE {PRESENT}"
        ).fetchall()
    )


def aligned_object(catalog: Catalog) -> tuple[CatalogObject, str]:
    """The object that is aligned, and its territory field: the first that reaches a territory by a field of its own."""
    for obj in catalog.served:
        for route in obj.visibility:
            if route.territory_field:
                return obj, route.territory_field
    raise AlignmentFileError("the catalog has no object with a territory field: there is nothing to align by file")
