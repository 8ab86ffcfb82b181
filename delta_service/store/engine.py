"""What the store asks of a database, and the one place that decides which database it is.

All SQL is written once, in the common part of the two dialects, with ``?`` or ``:name`` for parameters; the few words
that only SQLite has are put right by PostgreSQL's engine. What else they do not share (opening, transactions, bulk
loads, statistics) is behind these protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from delta_service.store.errors import StoreUnavailableError

if TYPE_CHECKING:
    from delta_service.store.changes import Values

StoreLocation = Path | str
"""The path of an SQLite file, or a ``postgresql://`` URL, which may hold a password: never to be logged."""

POSTGRES_SCHEMES = ("postgresql://", "postgres://")


class Cursor(Protocol):
    """The rows of a statement."""

    @property
    def get(self) -> Any:
        """The first row, or its value where it has only one; None where there is no row."""

    def fetchone(self) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class ReadConnection(Protocol):
    """For one thread at a time. Its methods raise the :attr:`Engine.errors`, and StoreUnavailableError."""

    def execute(self, sql: str, parameters: Any = None, /) -> Cursor: ...

    def close(self) -> None: ...

    def snapshot(self) -> AbstractContextManager[None]:
        """All reads inside see one and the same committed state."""

    def is_current(self) -> bool:
        """Whether the connection still leads to the store that is at the location now."""

    def has_content(self) -> bool:
        """Whether the store's tables are there."""

    def check_content(self) -> None:
        """Raises StoreUnavailableError where nothing was ever stored, StoreDamagedError where something must be."""

    def has_table(self, name: str) -> bool:
        """Whether one table is there: a store that an older version made may lack the newest."""

    def version(self) -> object:
        """Changes whenever another connection has committed, or the store became another's replica or ceased to be."""

    def is_replica(self) -> bool:
        """Whether the store follows another one, and may be behind it."""


class WriteConnection(ReadConnection, Protocol):
    """The one connection that writes."""

    def executemany(self, sql: str, rows: Iterable[Any], /) -> object:
        """Once for each row. While it runs, ``rows`` must not use the connection."""

    def array(self, values: Values, /) -> object:
        """The parameter of ``carray(...)``, a table of one column, ``value``: these in their order. At least one."""

    def changes(self) -> int:
        """Rows that the last statement inserted, updated or deleted."""

    def commit(self) -> AbstractContextManager[None]:
        """Everything inside becomes visible at once at the end, or (when it raises) never.

        Raises StaleWriterError when a newer writer has taken over, ChangeSetError when a constraint is broken.
        """

    def begin_load(self) -> None:
        """Inside :meth:`commit`: take away all content, and tables of another version."""

    def end_load(self) -> None:
        """Inside :meth:`commit`: tell the planner of the tables' shape."""


class Engine(Protocol):
    """A kind of database, at a location."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises when the store cannot be read or written."""

    @property
    def is_local(self) -> bool:
        """Whether a small read is over sooner than a change of threads."""

    def open_reader(self) -> ReadConnection:
        """Raises StoreUnavailableError where there is no store."""

    def open_writer(self) -> WriteConnection:
        """Raises StoreUnavailableError where there is no store, StoreDamagedError."""

    def replacing(self, present: WriteConnection | None) -> AbstractContextManager[WriteConnection]:
        """Everything inside becomes the store's whole content at the end, or (when it raises) nothing changes.

        It needs nothing that is there now: a damaged store is replaced too. ``present`` is closed where it does not
        lead to the new content.
        """

    def unavailable(self, error: Exception) -> StoreUnavailableError:
        """What one of :attr:`errors` says of the store."""


def engine_at(location: StoreLocation) -> Engine:
    """SQLite for a path, PostgreSQL for its URLs."""
    if str(location).startswith(POSTGRES_SCHEMES):
        # An optional dependency: nobody else needs its driver.
        from delta_service.store.postgres import PostgresEngine

        return PostgresEngine(str(location))
    from delta_service.store.sqlite import SqliteEngine

    return SqliteEngine(Path(location))


def location_of(url: str | None, default: Path) -> StoreLocation:
    """What ``DELTA_STORE_URL`` names; unset, the SQLite file ``default``. Raises ValueError without telling the URL."""
    if not url:
        return default
    if not url.startswith(POSTGRES_SCHEMES):
        raise ValueError(f"DELTA_STORE_URL must begin with {POSTGRES_SCHEMES[0]}; unset, the store is {default.name}")
    return url
