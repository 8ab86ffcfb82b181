"""The store in one SQLite file: through apsw, in WAL mode, with one writer that alone checkpoints.

A file appears with all its content or not at all: a new store, and a full copy, are built beside and swapped in. So a
file without tables is a damaged one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from delta_service.store import schema
from delta_service.store.errors import (
    ChangeSetError,
    StoreDamagedError,
    StoreDiskFullError,
    StoreForbiddenError,
    StoreReadOnlyError,
    StoreUnavailableError,
    StoreUnreachableError,
)

if TYPE_CHECKING:
    from delta_service.store.changes import Values
    from delta_service.store.engine import WriteConnection

BUSY_TIMEOUT_MS = 30_000
READER_CACHE_KIB = 65_536
# Most of what a large publication changes; taken as it is needed, and given back when the writer closes.
WRITER_CACHE_KIB = 262_144
# Beyond it the WAL is copied back wholly and cut, readers permitting.
WAL_TRUNCATE_BYTES = 64 * 2**20
WAL_TRUNCATE_WAIT_MS = 2_000
# Versions before can, very rarely, corrupt a WAL database when a checkpoint meets a commit.
OLDEST_SAFE_SQLITE = (3, 51, 3)

# SQLite's planner, knowing nothing, prefers a row's index to the clustered key. It is told the tables' shape (rows,
# then rows per distinct prefix) once, not by ANALYZE now and then: plans are the same on every machine and every day.
PLANNER_STATISTICS = (
    ("visibility", "visibility", "7000000 1400 300 1 1"),
    ("visibility", "visibility_touched", "7000000 1400 5"),
    ("visibility", "visibility_row", "7000000 2"),
    ("row_version", "row_version", "6000000 2 1"),
    ("row_version", "row_version_ended", "2000000 200"),
    ("head", "head", "500000 100 20 1"),
)
INSERT_STATISTICS = "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)"
HAS_TABLE = "SELECT count(*) FROM sqlite_schema WHERE name = ?"


@dataclass(frozen=True, slots=True)
class SqliteEngine:
    path: Path
    errors: tuple[type[Exception], ...] = (apsw.Error,)
    is_local: bool = True

    def open_reader(self) -> SqliteConnection:
        # Opened read-write all the same: the first reader after a crash has to recover the WAL.
        return self._opened(READER_CACHE_KIB, "PRAGMA query_only = 1")

    def open_writer(self) -> SqliteConnection:
        return self._opened(WRITER_CACHE_KIB, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")

    @contextmanager
    def replacing(self, present: WriteConnection | None) -> Iterator[WriteConnection]:
        beside = self.path.with_name(self.path.name + ".new")
        _remove(beside)
        try:
            beside.touch()
            fresh = SqliteConnection(beside, WRITER_CACHE_KIB)
            try:
                # Nobody reads it yet, and an unfinished one is thrown away.
                fresh.execute("PRAGMA journal_mode = OFF")
                fresh.execute("PRAGMA synchronous = OFF")
                fresh.execute("BEGIN")
                yield fresh
                fresh.execute("COMMIT")
                fresh.execute("PRAGMA journal_mode = WAL")
            finally:
                fresh.close()
        except BaseException as error:
            _remove(beside)
            if isinstance(error, apsw.ConstraintError):
                raise ChangeSetError(f"the input contradicts itself: {error}") from error
            raise
        if present is not None:
            present.close()
        _swap_in(beside, self.path)

    def unavailable(self, error: Exception) -> StoreUnavailableError:
        if isinstance(error, StoreUnavailableError):
            return error
        if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.SQLError):
            # Our SQL is right: what it does not find, the file has lost.
            return StoreDamagedError(f"{self.path} is damaged: {error}")
        if isinstance(error, apsw.FullError):
            return StoreDiskFullError(f"the disk that holds {self.path} is full")
        if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError | PermissionError):
            return self._kept_out(error)
        return StoreUnreachableError(f"{self.path} cannot be read or written: {error}")

    def _kept_out(self, error: Exception) -> StoreUnavailableError:
        folder = self.path.parent
        try:
            if not self.path.exists():
                return StoreUnavailableError(f"there is no delta store at {self.path}")
            if os.statvfs(folder).f_flag & os.ST_RDONLY:
                return StoreReadOnlyError(f"{self.path} is on a read-only file system: {error}")
        except OSError:
            pass
        return StoreForbiddenError(f"this user may not read {self.path}, or not write in {folder}: {error}")

    def _opened(self, cache_kib: int, *settings: str) -> SqliteConnection:
        """Raises StoreUnavailableError."""
        connection = None
        try:
            connection = SqliteConnection(self.path, cache_kib)
            for setting in settings:
                connection.execute(setting)
            connection.check_content()
            # Looked at after the first read, which opens the WAL: that is now the log of this file and no other.
            if not connection.is_current():
                raise StoreUnavailableError(f"{self.path} was replaced this very moment")
        except FileNotFoundError as error:
            raise StoreUnavailableError(f"there is no delta store at {self.path}") from error
        except (apsw.Error, PermissionError, StoreUnavailableError) as error:
            if connection is not None:
                connection.close()
            raise self.unavailable(error) from error
        return connection


class SqliteConnection(apsw.Connection):
    """apsw's own connection (what is asked most often gets no slower), and the rest of what the store needs."""

    def __init__(self, path: Path, cache_kib: int) -> None:
        check_sqlite_version()
        self._path, self._file = path, _file_at(path)
        super().__init__(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        self.set_busy_timeout(BUSY_TIMEOUT_MS)
        self.execute(f"PRAGMA cache_size = -{cache_kib}")
        self.execute("PRAGMA mmap_size = 0")
        # A checkpoint at a commit's end would make readers checkpoint too, and the writer at a time not its own.
        self.wal_autocheckpoint(0)

    def is_current(self) -> bool:
        try:
            return _file_at(self._path) == self._file
        except FileNotFoundError:
            return False

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self.execute("BEGIN DEFERRED")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise

    def has_content(self) -> bool:
        return self.has_table("meta")

    def has_table(self, name: str) -> bool:
        return bool(self.execute(HAS_TABLE, (name,)).get)

    def check_content(self) -> None:
        if not self.has_content():
            raise StoreDamagedError(f"{self._path} is there, but has lost its content")

    def version(self) -> object:
        return self.execute("PRAGMA data_version").get

    def is_replica(self) -> bool:
        return False

    @contextmanager
    def commit(self) -> Iterator[None]:
        """A transaction, then a checkpoint: publishing comes first, tidying the WAL after.

        No fence against older writers is needed: whoever writes holds the lock of the warehouse on this machine.
        """
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException as error:
            if self.in_transaction:
                self.execute("ROLLBACK")
            if isinstance(error, apsw.ConstraintError):
                raise ChangeSetError(f"the input contradicts itself or the store: {error}") from error
            raise
        self.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        if self._path.with_name(self._path.name + "-wal").stat().st_size > WAL_TRUNCATE_BYTES:
            self._truncate_wal()

    def array(self, values: Values, /) -> apsw.CArrayBinding:
        return apsw.carray(tuple(values) if isinstance(values, Sequence) else values)

    def begin_load(self) -> None:
        for table in schema.TABLES:
            self.execute(f"DROP TABLE IF EXISTS {table}")

    def end_load(self) -> None:
        # Only to have the table: nothing that it would find out is wanted.
        self.execute("ANALYZE meta")
        self.execute("DELETE FROM sqlite_stat1")
        self.executemany(INSERT_STATISTICS, PLANNER_STATISTICS)
        self.execute("ANALYZE sqlite_schema")

    def _truncate_wal(self) -> None:
        self.set_busy_timeout(WAL_TRUNCATE_WAIT_MS)
        # A reader may still need it; then the next publication tries again.
        with suppress(apsw.BusyError):
            self.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.set_busy_timeout(BUSY_TIMEOUT_MS)


def check_sqlite_version() -> None:
    """Raises RuntimeError where the SQLite inside apsw is too old to be trusted with a WAL file."""
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < OLDEST_SAFE_SQLITE:
        raise RuntimeError(f"SQLite {version} is too old: {'.'.join(map(str, OLDEST_SAFE_SQLITE))} or newer is needed")


def _swap_in(beside: Path, path: Path) -> None:
    """Readers that have the old file open go on reading it, and find the new one when they look.

    The old file goes before its log, and the log before the new file comes: no log ever lies beside a file that is not
    its own, whenever this is killed. Without a file the next full copy makes one.
    """
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    _remove(path)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _file_at(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
