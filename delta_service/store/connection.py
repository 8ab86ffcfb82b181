"""How every process opens the SQLite store: through apsw, in WAL mode, one writer that alone checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

BUSY_TIMEOUT_MS = 30_000
CACHE_KIB = 65_536
# Versions before can, very rarely, corrupt a WAL database when a checkpoint meets a commit.
OLDEST_SAFE_SQLITE = (3, 51, 3)
EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


def check_sqlite_version() -> None:
    """Raises RuntimeError where the SQLite inside apsw is too old to be trusted with a WAL file."""
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < OLDEST_SAFE_SQLITE:
        raise RuntimeError(f"SQLite {version} is too old: {'.'.join(map(str, OLDEST_SAFE_SQLITE))} or newer is needed")


def open_writer(path: Path) -> apsw.Connection:
    """A read-write connection; creates the file."""
    connection = _open(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """A connection that can only read. Raises apsw.CantOpenError where there is no file."""
    # Opened read-write all the same: the first reader after a crash has to recover the WAL.
    connection = _open(path, apsw.SQLITE_OPEN_READWRITE)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _open(path: Path, flags: int) -> apsw.Connection:
    check_sqlite_version()
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA mmap_size = 0")
    # A checkpoint at a commit's end would make readers checkpoint too, and the writer at a time not its own.
    connection.wal_autocheckpoint(0)
    return connection


@contextmanager
def transaction(connection: apsw.Connection, kind: str) -> Iterator[None]:
    """``kind`` is IMMEDIATE (write) or DEFERRED (read one snapshot). Rolls back when the block raises."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (time - EPOCH_START) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    return EPOCH_START + timedelta(microseconds=microseconds)
