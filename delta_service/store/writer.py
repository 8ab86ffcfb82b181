"""The only writer of the delta store: each publication, and each full copy, is one transaction.

Whatever happens in between (an exception, ``kill -9``), readers see the state before or the state after.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from delta_service.store import full_copy, publish, schema
from delta_service.store.changes import ChangeSet, FullCopy, StoreIdentity
from delta_service.store.engine import StoreLocation, engine_at
from delta_service.store.errors import StaleSeqError, StoreIdentityError
from delta_service.store.prune import prune_history
from delta_service.store.territory_keys import set_names
from delta_service.store.times import to_microseconds


class DeltaStoreWriter:
    """Opens (and creates) the store at ``location``. Use it as a context manager, or call :meth:`close`.

    A writer that is opened takes over: any that was opened earlier on another machine can write no more.
    """

    def __init__(self, location: StoreLocation) -> None:
        self._connection = engine_at(location).open_writer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

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
        return tuple(name for (name,) in self._connection.execute("SELECT name FROM object ORDER BY key"))

    @property
    def published_seq(self) -> int:
        """The newest publication the store holds; 0 before the first."""
        return self._meta("published_seq") or 0

    def initialise(self, identity: StoreIdentity) -> None:
        """Create the tables if there are none. Raises StoreIdentityError if the store belongs to another history."""
        with self._connection.commit():
            if self.epoch is None:
                full_copy.create_tables(self._connection)
                full_copy.create_indexes(self._connection)
                full_copy.write_identity(self._connection, identity, generation=token_hex(8))
                return
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
            # A table that this version has more than the one that made the store.
            full_copy.create_tables(self._connection)

    def apply(self, change_set: ChangeSet) -> None:
        """Commit one publication.

        ``heads`` must name every territory and object whose view the publication changes. Raises StaleSeqError when it
        does not follow the newest one, ChangeSetError when it contradicts the store; either way nothing is written.
        """
        with self._connection.commit():
            seq = change_set.publication.seq
            if self.epoch is None or self.published_seq != seq - 1:
                raise StaleSeqError(f"publication {seq} does not follow {self.published_seq}")
            publish.apply(self._connection, change_set)

    def replace(self, copy: FullCopy) -> None:
        """Replace everything by a full copy, which may bring another epoch, cursor key or set of objects."""
        names = self._territory_names()
        with self._connection.commit():
            full_copy.replace(self._connection, copy, generation=token_hex(8))
            set_names(self._connection, names)

    def set_territories(self, territories: Sequence[tuple[str, str | None]]) -> None:
        """State ids and names of all territories. One that is no longer named keeps its rows and loses its name."""
        with self._connection.commit():
            set_names(self._connection, territories, forget_others=True)

    def confirm_as_of(self, as_of: datetime) -> None:
        """State that all CRM changes up to ``as_of`` are in; a time before the one known is ignored."""
        moment = to_microseconds(as_of)
        with self._connection.commit():
            self._connection.execute("UPDATE meta SET as_of_us = ? WHERE as_of_us < ?", (moment, moment))

    def prune(self, horizon_seq: int, body_horizon_seq: int) -> None:
        """Forget history before ``horizon_seq``, and superseded bodies and head counts before ``body_horizon_seq``.

        Views at or after ``horizon_seq`` keep all answers; pages fixed at or after ``body_horizon_seq`` stay readable.
        Horizons never go back: a lower one than known changes nothing. Raises ValueError beyond the newest publication.
        """
        if not max(horizon_seq, body_horizon_seq) <= self.published_seq:
            raise ValueError(f"a horizon beyond the newest publication {self.published_seq} would lose current rows")
        with self._connection.commit():
            prune_history(self._connection, horizon_seq, max(horizon_seq, body_horizon_seq))

    def _meta(self, column: str) -> Any:
        return self._connection.execute(f"SELECT {column} FROM meta").get if self._connection.has_content() else None

    def _territory_names(self) -> list[tuple[str, str | None]]:
        if self.epoch is None:
            return []
        return list(self._connection.execute("SELECT id, name FROM territory"))
