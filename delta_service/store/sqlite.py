"""The store in one SQLite file: through apsw, in WAL mode, with one writer that alone checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from delta_service.store import schema
from delta_service.store.errors import ChangeSetError, StoreUnavailableError

if TYPE_CHECKING:
    from delta_service.store.changes import Values

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
        try:
            # Opened read-write all the same: the first reader after a crash has to recover the WAL.
            connection = SqliteConnection(self.path, READER_CACHE_KIB)
        except (FileNotFoundError, apsw.CantOpenError) as error:
            raise StoreUnavailableError(f"there is no delta store at {self.path}") from error
        connection.execute("PRAGMA query_only = 1")
        return connection

    def open_writer(self) -> SqliteConnection:
        self.path.touch()
        connection = SqliteConnection(self.path, WRITER_CACHE_KIB)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
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


def _file_at(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
