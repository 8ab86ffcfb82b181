"""The store in PostgreSQL, for more than one machine: the same tables, the same SQL, the same steps as in SQLite.

What differs is here: some words of the dialect, COPY for bulk loads, a fence against writers of other machines, and
connections that are lost. Tables live where the URL's ``search_path`` leads, so several stores fit into one database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper

from delta_service.store import schema
from delta_service.store.errors import (
    ChangeSetError,
    StaleWriterError,
    StoreDamagedError,
    StoreUnavailableError,
    StoreUnreachableError,
)

if TYPE_CHECKING:
    from delta_service.store.changes import Values
    from delta_service.store.engine import WriteConnection

# A server that has gone without a word is given up after some seconds; whatever is in the URL comes first.
CONNECTING = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
READER_SETTINGS = {
    "statement_timeout": "30s",
    # Each question has its index: plans are the same on every machine and every day, whatever ANALYZE last saw.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
WRITER_SETTINGS = {
    "lock_timeout": "60s",
    # A writer that was paused, or whose machine is gone, does not hold up the next one for ever.
    "idle_in_transaction_session_timeout": "5min",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "30",
    "temp_buffers": "64MB",
    "work_mem": "64MB",
    "jit": "off",
}

DIALECT = (
    ("INTEGER PRIMARY KEY", "BIGINT PRIMARY KEY"),
    (" BLOB ", " BYTEA "),
    (") WITHOUT ROWID", ")"),
    (" OR ROLLBACK ", " "),
    (" carray(", " unnest("),
)
PLACEHOLDER = re.compile(r"(?<![:\w]):(\w+)|\?")
PLAIN_INSERT = re.compile(r"INSERT INTO (\w+) \(([\w, ]+)\)\s+VALUES \([?, ]+\)")

# So many change what the planner has to know, at once and not when autovacuum comes round.
MANY_ROWS = 20_000

# Tables and columns that our SQL does not find, the store has lost.
DAMAGE = (
    psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted,
    psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn,
)  # fmt: skip

HAS_TABLE = "SELECT to_regclass(?) IS NOT NULL"
# Which transaction wrote the row of meta, and where it lies: each commit of a writer writes it anew.
VERSION = "SELECT CAST(xmin AS TEXT), CAST(ctid AS TEXT), pg_is_in_recovery() FROM meta"
TOUCH_META = "UPDATE meta SET only_row = only_row"
IS_REPLICA = "SELECT pg_is_in_recovery()"
STORE_VERSION = "SELECT schema_version FROM meta"

CREATE_FENCE = """CREATE TABLE IF NOT EXISTS writer_fence (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1), token BIGINT NOT NULL)"""
TAKE_OVER = """INSERT INTO writer_fence (only_row, token) VALUES (1, 1)
    ON CONFLICT (only_row) DO UPDATE SET token = writer_fence.token + 1 RETURNING token"""
HOLD_FENCE = "SELECT token FROM writer_fence FOR UPDATE"


@dataclass(frozen=True, slots=True)
class PostgresEngine:
    url: str = field(repr=False)
    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    is_local: bool = False

    def open_reader(self) -> PostgresConnection:
        connection = _connect(self.url, "territory-delta reader", READER_SETTINGS)
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return PostgresConnection(connection)

    def open_writer(self) -> PostgresWriter:
        connection = _connect(self.url, "territory-delta writer", WRITER_SETTINGS)
        # Its statements are few, and about temporary tables that are made anew each time.
        connection.prepare_threshold = None
        return PostgresWriter(connection)

    @contextmanager
    def replacing(self, present: WriteConnection | None) -> Iterator[WriteConnection]:
        assert present is not None
        with present.commit():
            yield present

    def unavailable(self, error: Exception) -> StoreUnavailableError:
        if isinstance(error, StoreUnavailableError):
            return error
        if isinstance(error, DAMAGE):
            return StoreDamagedError(f"the delta store is damaged: {error}")
        return StoreUnreachableError(f"the delta store cannot be read or written: {error}")


class PostgresCursor(psycopg.Cursor[tuple[Any, ...]]):
    @property
    def get(self) -> Any:
        row = self.fetchone()
        return row[0] if row is not None and len(row) == 1 else row


class PostgresConnection:
    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Any = None, /) -> PostgresCursor:
        cursor = PostgresCursor(self._connection)
        cursor.execute(translated(sql), () if parameters is None else parameters, binary=True)
        return cursor

    def close(self) -> None:
        self._connection.close()

    def is_current(self) -> bool:
        return not self._connection.closed

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._connection.transaction():
            yield

    def has_content(self) -> bool:
        return self.has_table("meta")

    def has_table(self, name: str) -> bool:
        return bool(self.execute(HAS_TABLE, (name,)).get)

    def check_content(self) -> None:
        if not self.has_content():
            raise StoreUnavailableError("the delta store has no content yet")

    def version(self) -> object:
        return self.execute(VERSION).get if self.has_content() else None

    def is_replica(self) -> bool:
        return bool(self.execute(IS_REPLICA).get)


class PostgresWriter(PostgresConnection):
    """Holds a token: of several writers only the one that was opened last can commit."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        super().__init__(connection)
        self._changes = 0
        self._copied = 0
        with _reachable(), connection.transaction():
            self.execute("SELECT pg_advisory_xact_lock(hashtext('territory-delta'))")
            self.execute(CREATE_FENCE)
            self._token: int = self.execute(TAKE_OVER).get

    def execute(self, sql: str, parameters: Any = None, /) -> PostgresCursor:
        cursor = super().execute(sql, parameters)
        self._changes = cursor.rowcount
        return cursor

    def executemany(self, sql: str, rows: Iterable[Any], /) -> object:
        """A plain INSERT becomes a COPY."""
        cursor = self._connection.cursor()
        plain = PLAIN_INSERT.fullmatch(sql)
        if plain is None:
            cursor.executemany(translated(sql), rows)
            return None
        table, columns = plain.groups()
        described = self.execute(f"SELECT {columns} FROM {table} LIMIT 0").description
        types = [column.type_code for column in described or ()]
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
                self._copied += 1
        return None

    def array(self, values: Values, /) -> list[str] | list[int]:
        return list(values) if isinstance(values, Sequence) else values.tolist()

    def changes(self) -> int:
        return self._changes

    @contextmanager
    def commit(self) -> Iterator[None]:
        """One transaction. The row of the fence is held meanwhile, so writers queue and none overtakes another."""
        try:
            with _reachable(), self._connection.transaction():
                if self.execute(HOLD_FENCE).get != self._token:
                    raise StaleWriterError("another writer has taken over the delta store; this one must end")
                self._copied = 0
                yield
                if self._copied > MANY_ROWS:
                    self.end_load()
                self.execute(TOUCH_META)
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            raise ChangeSetError(f"the input contradicts itself or the store: {error.diag.message_primary}") from error

    def begin_load(self) -> None:
        # Without DROP or TRUNCATE, which readers in mid-question would have to wait for, or worse, not notice.
        if self.has_content() and self.execute(STORE_VERSION).get == schema.SCHEMA_VERSION:
            for table, creation in schema.TABLES.items():
                self.execute(creation)
                self.execute(f"DELETE FROM {table}")
            return
        for table in schema.TABLES:
            self.execute(f"DROP TABLE IF EXISTS {table}")

    def end_load(self) -> None:
        for table in schema.TABLES:
            self.execute(f"ANALYZE {table}")


def _connect(url: str, name: str, settings: dict[str, str]) -> psycopg.Connection[tuple[Any, ...]]:
    """Raises StoreUnreachableError, which never tells the URL."""
    given: dict[str, Any]
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise StoreUnreachableError("the URL of the delta store cannot be understood") from None
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    options += f" {given.pop('options', None) or ''}"
    with _reachable():
        conninfo = make_conninfo("", **{"application_name": name, **CONNECTING, **given, "options": options})
        connection = psycopg.connect(conninfo, autocommit=True)
    # One type for all numbers, so that there is one prepared statement for each text.
    connection.adapters.register_dumper(int, Int8Dumper)
    # A list of texts has a type only if its texts have.
    connection.adapters.register_dumper(str, StrDumper)
    return connection


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
        raise StoreUnreachableError(f"the delta store cannot be reached: {error}") from error


@lru_cache(maxsize=4096)
def translated(sql: str) -> bytes:
    """The store's SQL as psycopg and PostgreSQL want it."""
    for theirs, ours in DIALECT:
        sql = sql.replace(theirs, ours)

    def placeholder(found: re.Match[str]) -> str:
        return f"%({found[1]})s" if found[1] else "%s"

    return PLACEHOLDER.sub(placeholder, sql.replace("%", "%%")).encode()
