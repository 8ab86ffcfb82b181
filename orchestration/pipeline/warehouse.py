"""The warehouse file: opened by one process at a time, for as short as possible, always in a known shape."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any

import duckdb

from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.readings import number_old_readings
from orchestration.pipeline.schema import SCHEMAS, STATE, Table, tables
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

    Waits at most ``wait_seconds`` for other processes; raises :class:`WarehouseBusyError`. The kernel drops the lock of
    a killed process, and DuckDB replays its own log, so a crash leaves nothing to clean up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, wait_seconds):
        connection = duckdb.connect(str(path), config=CONFIG)
        try:
            _bring_to_shape(connection, catalog)
            yield connection
        finally:
            connection.close()


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
                    raise WarehouseBusyError(
                        f"The warehouse is in use by process {_holder(lock)}, for more than {wait_seconds:g} s. "
                        "Let that run end (or end it), then run again; WAREHOUSE_LOCK_WAIT_SECONDS sets the wait."
                    ) from None
                time.sleep(0.05)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


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


def newest_reading(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the reading that began last."""
    return int(read_state(connection, "reading") or 0)


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
            _add_missing_columns(connection, table)
        if read_state(connection, "reading") is None:
            write_state(connection, "reading", str(number_old_readings(connection, catalog)))
        if read_state(connection, "epoch") is None:
            write_state(connection, "epoch", secrets.token_hex(4))
            write_state(connection, "cursor_key", secrets.token_hex(32))
        for obj in catalog:
            _follow_catalog(connection, obj)
        for index in (index for table in tables(catalog) for index in table.index_ddl):
            connection.execute(index)
        for view in compile_views(catalog).values():
            connection.execute(view)
        write_state(connection, "shape", shape)


def _shape_parts(catalog: Catalog) -> Iterator[str]:
    for table in tables(catalog):
        yield from (table.ddl, *table.index_ddl)
    yield from compile_views(catalog).values()
    yield from (obj.model_dump_json() for obj in catalog)


def _add_missing_columns(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """A warehouse of an earlier version, or of a catalog with fewer fields, gets the new columns, all NULL."""
    described = connection.execute(f"SELECT column_name FROM (DESCRIBE {table.name})").fetchall()
    have = {str(row[0]) for row in described}
    for column in table.columns:
        if column.name not in have:
            connection.execute(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {column.type}')


def _follow_catalog(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> None:
    """An object whose definition changed is derived anew; one with new fields is read anew, after a first load."""
    definition = obj.model_dump_json()
    known = read_state(connection, f"object:{obj.name}")
    if known == definition:
        return
    if read_state(connection, "watermark") is not None:
        connection.execute("DELETE FROM read_requests WHERE object = ? AND kind = 'all'", [obj.name])
        connection.execute(
            "INSERT INTO read_requests"
            " (object, kind, field, value, reason, requested_at, reading, position, missed, unanswered)"
            " VALUES (?, 'all', '', '', 'the catalog changed', ?, ?, 0, 0, false)",
            [obj.name, utc_now(), newest_reading(connection)],
        )
        connection.execute(f"INSERT INTO touched SELECT '{obj.name}', row_id FROM snapshot.\"{obj.table}\"")
    write_state(connection, f"object:{obj.name}", definition)
