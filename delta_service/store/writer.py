"""The only writer of the delta store: each publication, and each full copy, is one transaction.

Whatever happens in between (an exception, ``kill -9``), readers see the state before or the state after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from delta_service.store import full_copy, publish, schema
from delta_service.store.changes import ChangeSet, FullCopy, StoreIdentity
from delta_service.store.engine import StoreLocation, WriteConnection, engine_at
from delta_service.store.errors import (
    StaleSeqError,
    StoreDamagedError,
    StoreIdentityError,
    StoreUnavailableError,
    StoreUnreachableError,
)
from delta_service.store.prune import prune_history
from delta_service.store.territory_keys import set_names
from delta_service.store.times import to_microseconds


class DeltaStoreWriter:
    """Opens the store at ``location``. Use it as a context manager, or call :meth:`close`.

    A writer that is opened takes over: any that was opened earlier on another machine can write no more. Where there is
    no store, :meth:`initialise` and :meth:`replace` make one. A damaged one can be opened too: all but :meth:`replace`
    raises StoreDamagedError then.
    """

    def __init__(self, location: StoreLocation) -> None:
        self.location = location
        """Where the store is; a URL may hold a password: never to be logged."""
        self._engine = engine_at(location)
        self._opened: WriteConnection | None = None
        self._closed_because = StoreUnavailableError("there is no delta store yet")
        try:
            self._opened = self._engine.open_writer()
        except StoreUnreachableError:
            raise
        except StoreUnavailableError as error:
            self._closed_because = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def _connection(self) -> WriteConnection:
        if self._opened is None:
            raise self._closed_because
        return self._opened

    @property
    def epoch(self) -> str | None:
        """None while the store has no content."""
        epoch: str | None = self._meta("epoch")
        return epoch

    @property
    def objects(self) -> tuple[str, ...]:
        """Served objects, parents first; empty while the store has no content."""
        if self.epoch is None:
            return ()
        with self._errors_named():
            return tuple(name for (name,) in self._connection.execute("SELECT name FROM object ORDER BY key"))

    @property
    def published_seq(self) -> int:
        """The newest publication the store holds; 0 before the first."""
        return self._meta("published_seq") or 0

    def initialise(self, identity: StoreIdentity) -> None:
        """Create the tables if there are none. Raises StoreIdentityError if the store belongs to another history."""
        if self.epoch is None:
            with self._replacing() as fresh:
                full_copy.create_tables(fresh)
                full_copy.create_indexes(fresh)
                full_copy.write_identity(fresh, identity, generation=token_hex(8))
            return
        with self._errors_named(), self._connection.commit():
            if (self._meta("schema_version"), self.epoch, self._meta("cursor_key"), self.objects) != (
                schema.SCHEMA_VERSION,
                identity.epoch,
                identity.cursor_key,
                tuple(identity.objects),
            ):
                raise StoreIdentityError(
                    f"the store holds epoch {self.epoch} with objects {', '.join(self.objects)}; "
                    f"epoch {identity.epoch} with objects {', '.join(identity.objects)} needs a full copy"
                )
            # The version that made the store may not have had this table yet. Any other that is missing is damage.
            self._connection.execute(schema.TABLES["held"])

    def apply(self, change_set: ChangeSet) -> None:
        """Commit one publication.

        ``heads`` must name every territory and object whose view the publication changes. Raises StaleSeqError when it
        does not follow the newest one, ChangeSetError when it contradicts the store; either way nothing is written.
        """
        seq = change_set.publication.seq
        if self.epoch is None:
            raise StaleSeqError(f"publication {seq} cannot be the first of a store without an identity")
        with self._errors_named(), self._connection.commit():
            if self.published_seq != seq - 1:
                raise StaleSeqError(f"publication {seq} does not follow {self.published_seq}")
            publish.apply(self._connection, change_set)

    def replace(self, copy: FullCopy) -> None:
        """Replace everything by a full copy, which may bring another epoch, cursor key or set of objects.

        Nothing of the present content is needed: it may be damaged.
        """
        names = self._territory_names()
        with self._replacing() as fresh:
            full_copy.replace(fresh, copy, generation=token_hex(8))
            set_names(fresh, names)

    def set_territories(self, territories: Sequence[tuple[str, str | None]]) -> None:
        """State ids and names of all territories. One that is no longer named keeps its rows and loses its name."""
        with self._errors_named(), self._connection.commit():
            set_names(self._connection, territories, forget_others=True)

    def confirm_as_of(self, as_of: datetime) -> None:
        """State that all CRM changes up to ``as_of`` are in; a time before the one known is ignored."""
        moment = to_microseconds(as_of)
        with self._errors_named(), self._connection.commit():
            self._connection.execute("UPDATE meta SET as_of_us = ? WHERE as_of_us < ?", (moment, moment))

    def prune(self, horizon_seq: int, body_horizon_seq: int) -> None:
        """Forget history before ``horizon_seq``, and superseded bodies and head counts before ``body_horizon_seq``.

        Views at or after ``horizon_seq`` keep all answers; pages fixed at or after ``body_horizon_seq`` stay readable.
        Horizons never go back: a lower one than known changes nothing. Raises ValueError beyond the newest publication.
        """
        if not max(horizon_seq, body_horizon_seq) <= self.published_seq:
            raise ValueError(f"a horizon beyond the newest publication {self.published_seq} would lose current rows")
        with self._errors_named(), self._connection.commit():
            prune_history(self._connection, horizon_seq, max(horizon_seq, body_horizon_seq))

    def _meta(self, column: str) -> Any:
        """None where there is no content yet."""
        if self._opened is None and not isinstance(self._closed_because, StoreDamagedError):
            return None
        with self._errors_named():
            return (
                self._connection.execute(f"SELECT {column} FROM meta").get if self._connection.has_content() else None
            )

    def _territory_names(self) -> list[tuple[str, str | None]]:
        """As far as they can be read."""
        try:
            if self.epoch is None:
                return []
            with self._errors_named():
                return list(self._connection.execute("SELECT id, name FROM territory"))
        except StoreDamagedError:
            return []

    @contextmanager
    def _replacing(self) -> Iterator[WriteConnection]:
        with self._errors_named():
            with self._engine.replacing(self._opened) as fresh:
                yield fresh
            if self._opened is not fresh:
                self._opened = self._engine.open_writer()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except self._engine.errors as error:
            raise self._engine.unavailable(error) from error
