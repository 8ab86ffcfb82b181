"""The device's file: rows as served, and how far synchronising has got. What belongs together commits together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw

from delta_client.answer import AnswerError, Operation

BUSY_TIMEOUT_MS = 10_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS row (
    object TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (object, id)
) WITHOUT ROWID, STRICT;
-- Pages of an answer that is not whole yet. body is NULL for a row that is to be deleted.
CREATE TABLE IF NOT EXISTS staged (
    object TEXT NOT NULL, id TEXT NOT NULL, body TEXT, PRIMARY KEY (object, id)
) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS sync (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    cursor TEXT, next_page TEXT, route TEXT
) STRICT;
INSERT OR IGNORE INTO sync VALUES (1, NULL, NULL, NULL);
"""
READ_STATE = "SELECT cursor, next_page, route FROM sync"
WRITE_STATE = "UPDATE sync SET cursor = ?, next_page = ?, route = ?"
FORGET_STAGED = "DELETE FROM staged"
# Naming a row twice in one answer breaks the contract: the key refuses it.
STAGE = "INSERT INTO staged (object, id, body) VALUES (?, ?, ?)"
REMOVE_UNLISTED = """DELETE FROM row WHERE NOT EXISTS
    (SELECT 1 FROM staged WHERE staged.object = row.object AND staged.id = row.id)"""
REMOVE_DELETED = """DELETE FROM row WHERE EXISTS
    (SELECT 1 FROM staged WHERE staged.object = row.object AND staged.id = row.id AND staged.body IS NULL)"""
WRITE_STAGED = """INSERT OR REPLACE INTO row (object, id, body)
    SELECT object, id, body FROM staged WHERE body IS NOT NULL"""


class ConcurrentUseError(Exception):
    """Another process synchronises the same file; what it did stays, what this one read is dropped."""


@dataclass(frozen=True, slots=True)
class State:
    """How far synchronising has got."""

    cursor: str | None = None
    """The view that the rows are; None before the first sync."""
    next_page: str | None = None
    """Where the staged answer goes on; None while nothing is staged."""
    route: str | None = None
    """What the staged answer was asked of."""


class Database:
    """Opens (and creates) the file at ``path``."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        # A wiped row must not be found in the file's free pages.
        self._connection.execute("PRAGMA secure_delete = ON")
        with self._transaction():
            self._connection.execute(SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    @property
    def state(self) -> State:
        (found,) = self._connection.execute(READ_STATE)
        return State(*found)

    @property
    def row_count(self) -> int:
        return self._count("row")

    @property
    def staged_count(self) -> int:
        return self._count("staged")

    def rows(self, name: str) -> Iterator[tuple[str, str]]:
        """An object's rows as (id, text), by id."""
        yield from self._connection.execute("SELECT id, body FROM row WHERE object = ? ORDER BY id", (name,))

    @property
    def object_names(self) -> list[str]:
        """Objects that have rows."""
        return [name for (name,) in self._connection.execute("SELECT DISTINCT object FROM row ORDER BY object")]

    def stage(self, operations: Iterable[Operation], was: State, now: State) -> None:
        """Keep a page that others follow: rows stay as they are. Raises AnswerError for a row named twice."""
        with self._advancing(was, now):
            self._stage(operations)

    def apply(self, operations: Iterable[Operation], was: State, cursor: str, *, replaces: bool) -> None:
        """The last page: everything staged and this become the rows, and the cursor theirs, in one transaction."""
        with self._advancing(was, State(cursor)):
            self._stage(operations)
            if replaces:
                self._connection.execute(REMOVE_UNLISTED)
            self._connection.execute(REMOVE_DELETED)
            self._connection.execute(WRITE_STAGED)
            self._connection.execute(FORGET_STAGED)

    def forget_staged(self) -> None:
        """Give up an answer that cannot go on. Rows and cursor stay."""
        with self._transaction():
            self._connection.execute(FORGET_STAGED)
            self._write(State(self.state.cursor))

    def wipe(self) -> None:
        """Remove every row, and the cursor: the device may not have them any longer."""
        with self._transaction():
            self._connection.execute("DELETE FROM row")
            self._connection.execute(FORGET_STAGED)
            self._write(State())
        # Until then the log beside the file still has them.
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _stage(self, operations: Iterable[Operation]) -> None:
        try:
            self._connection.executemany(STAGE, operations)
        except apsw.ConstraintError as error:
            raise AnswerError("an answer names a row twice") from error

    def _count(self, table: str) -> int:
        (found,) = self._connection.execute(f"SELECT count(*) FROM {table}")
        return int(found[0])

    def _write(self, state: State) -> None:
        self._connection.execute(WRITE_STATE, (state.cursor, state.next_page, state.route))

    @contextmanager
    def _advancing(self, was: State, now: State) -> Iterator[None]:
        with self._transaction():
            if self.state != was:
                raise ConcurrentUseError("Another process synchronises this file.")
            yield
            self._write(now)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
