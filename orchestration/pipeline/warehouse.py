"""The warehouse file: opened by one process at a time, for as short as possible, always in a known shape."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any

import duckdb

from orchestration.catalog import Catalog
from orchestration.pipeline.attached import ATTACHED_AS, another_connection
from orchestration.pipeline.migrate import add_missing_columns, follow_catalog
from orchestration.pipeline.migration import set_aside_held_publication
from orchestration.pipeline.readings import newest_reading, number_old_readings
from orchestration.pipeline.schema import SCHEMAS, STATE, tables
from orchestration.pipeline.storage import storage_named
from orchestration.pipeline.views import compile_views

SQL_FOLDER = Path(__file__).parent.parent / "sql"
MOST_ROWS_LOOKED_UP = 1_000
"""A join with at most so many rows looks them up in the other side's index; larger ones scan it."""
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "dynamic_or_filter_threshold": MOST_ROWS_LOOKED_UP,
    # Of new files, in bytes: indexes are read and written by the block, and a change touches them all over.
    "default_block_size": 16_384,
    # A checkpoint writes indexes too: when the file is closed, rather than in the commit of a large change, whose log
    # makes it durable. Opening after a kill replays that at about 160 MB a second.
    "checkpoint_threshold": "1GB",
}

# How DuckDB tells who holds a file: the program, and its process id.
_LOCKED_BY = re.compile(r"Conflicting lock is held in (.+?) \(PID (\d+)\)")


class WarehouseBusyError(RuntimeError):
    """Another process has held the warehouse for the whole waiting time."""


@cache
def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def utc_now() -> datetime:
    """Now, as the warehouse stores times: UTC without zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def to_stored(moment: datetime) -> datetime:
    """An aware time as the warehouse stores it."""
    return moment.astimezone(UTC).replace(tzinfo=None)


@contextmanager
def open_warehouse(path: Path, catalog: Catalog, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, made or brought to the catalog's shape if need be.

    Waits at most ``wait_seconds`` for other processes; raises :class:`WarehouseBusyError` and :class:`StorageError`.
    The kernel drops the lock of a killed process, and DuckDB replays its own log: a crash leaves nothing to clean up.
    """
    deadline = time.monotonic() + wait_seconds
    with storage_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, wait_seconds), _attached(path, wait_seconds, deadline) as connection:
            _bring_to_shape(connection, catalog)
            yield connection


@contextmanager
def _attached(path: Path, wait_seconds: float, deadline: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as the default database of a connection; detached, and so free for others, at the end."""
    engine = _engine(path)
    name = str(path).replace("'", "''")
    _when_free(lambda: engine.execute(f"ATTACH '{name}' AS {ATTACHED_AS}"), wait_seconds, deadline)
    connection = another_connection(engine)
    try:
        yield connection
    finally:
        connection.close()
        try:
            engine.execute(f"DETACH {ATTACHED_AS}")
        except duckdb.Error:
            # After a fatal error, as on a full disk, an engine is of no more use.
            del _engines[os.getpid()]
            engine.close()
            raise


_engines: dict[int, tuple[Path, duckdb.DuckDBPyConnection]] = {}
"""By process, since a forked one cannot use, and must not end, what it has from its parent; of the newest warehouse."""


def _engine(path: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB without a database, kept for the next time: starting it takes three times as long as opening a file."""
    kept = _engines.get(os.getpid())
    if kept is None or kept[0] != path:
        # What does not fit into memory is written beside the warehouse.
        kept = path, duckdb.connect(config={**CONFIG, "temp_directory": f"{path}.tmp"})
        _engines[os.getpid()] = kept
    return kept[1]


def connect(path: Path, wait_seconds: float, deadline: float, **options: Any) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file, which a notebook may hold without a lock of ours; raises :class:`WarehouseBusyError`.

    ``deadline``: monotonic seconds; ``wait_seconds`` is what the message says.
    """
    return _when_free(lambda: duckdb.connect(str(path), **options), wait_seconds, deadline)


def _when_free(
    open_file: Callable[[], duckdb.DuckDBPyConnection], wait_seconds: float, deadline: float
) -> duckdb.DuckDBPyConnection:
    while True:
        try:
            return open_file()
        except duckdb.IOException as error:
            holder = _LOCKED_BY.search(str(error))
            if holder is None:
                raise
            if time.monotonic() >= deadline:
                raise _busy(f"{holder[2]} ({holder[1]})", wait_seconds) from None
            time.sleep(0.05)


@contextmanager
def locked(path: Path, wait_seconds: float) -> Iterator[None]:
    """Keep every other process of ours from the warehouse at ``path``; raises :class:`WarehouseBusyError`."""
    deadline = time.monotonic() + wait_seconds
    with path.with_suffix(".lock").open("a+", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise _busy(_holder(lock), wait_seconds) from None
                time.sleep(0.05)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _busy(holder: str, wait_seconds: float) -> WarehouseBusyError:
    return WarehouseBusyError(
        f"The warehouse is in use by process {holder}, for more than {wait_seconds:g} s. Let that run or notebook end"
        " (or end it), then run again; WAREHOUSE_LOCK_WAIT_SECONDS sets the wait."
    )


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def scalar(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> int:
    """The one number a statement gives. All of the result is fetched: an unfinished one blocks the connection."""
    return int(connection.execute(sql, parameters).fetchall()[0][0])


def read_state(connection: duckdb.DuckDBPyConnection, name: str) -> str | None:
    rows = connection.execute("SELECT value FROM state WHERE name = ?", [name]).fetchall()
    return str(rows[0][0]) if rows else None


def newest_seq(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the newest publication; 0 before the first."""
    return scalar(connection, "SELECT coalesce(max(seq), 0) FROM publication")


def begin_reading(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of a reading that begins now, higher than any before: no clock says which reading is the later one.

    To be taken before the CRM is asked, in a transaction.
    """
    number = newest_reading(connection) + 1
    write_state(connection, "reading", str(number))
    return number


def write_state(connection: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    connection.execute("DELETE FROM state WHERE name = ?", [name])
    connection.execute("INSERT INTO state VALUES (?, ?)", [name, value])


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "unknown"


def _bring_to_shape(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Create what is missing; where the catalog changed, ask for what that makes stale."""
    connection.execute("SET TimeZone = 'UTC'")
    shape = hashlib.sha256("\n".join(_shape_parts(catalog)).encode()).hexdigest()
    connection.execute(STATE.ddl)
    if read_state(connection, "shape") == shape:
        return
    with transaction(connection):
        for schema in SCHEMAS:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for table in tables(catalog):
            connection.execute(table.ddl)
            # A warehouse of an earlier version. Fields of snapshots follow the catalog, below.
            add_missing_columns(connection, table, fields=not table.name.startswith("snapshot."))
        if read_state(connection, "reading") is None:
            write_state(connection, "reading", str(number_old_readings(connection, catalog)))
        if read_state(connection, "epoch") is None:
            write_state(connection, "epoch", secrets.token_hex(4))
            write_state(connection, "cursor_key", secrets.token_hex(32))
        follow_catalog(connection, catalog, utc_now(), loaded=read_state(connection, "watermark") is not None)
        for index in (index for table in tables(catalog) for index in table.index_ddl):
            connection.execute(index)
        for view in compile_views(catalog).values():
            connection.execute(view)
        set_aside_held_publication(connection, catalog)
        write_state(connection, "shape", shape)


def _shape_parts(catalog: Catalog) -> Iterator[str]:
    for table in tables(catalog):
        yield from (table.ddl, *table.index_ddl)
    yield from compile_views(catalog).values()
    yield from (obj.model_dump_json() for obj in catalog)
