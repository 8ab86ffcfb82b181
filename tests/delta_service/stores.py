"""A store without a service: its tables, and views of it held against the naive model."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import apsw

from delta_service.buckets import bucket_digests
from delta_service.difference import Held, differing_rows
from delta_service.store import schema
from delta_service.store.changes import FullCopy, StoreIdentity
from delta_service.store.engine import ReadConnection, StoreLocation, engine_at
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.schema import unsigned
from delta_service.store.sqlite import SqliteConnection
from delta_service.store.views import DeltaRow, StoreState, View
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.model import IDENTITY, OBJECTS, Row, World, change_set, digest_of, version_of
from tests.postgres.cluster import new_location

TERRITORIES = ("T1", "T2", "T3")


@contextmanager
def reading(location: StoreLocation) -> Iterator[ReadConnection]:
    """For SQL on the tables themselves."""
    with closing(engine_at(location).open_reader()) as connection:
        yield connection


def content_of(writer: DeltaStoreWriter) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables."""
    with reading(writer.location) as connection:
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in schema.TABLES}


@contextmanager
def opened_connections() -> Iterator[list[apsw.Connection]]:
    """The connections to SQLite that are opened meanwhile, for looking at what they do."""
    opened: list[apsw.Connection] = []
    apsw.connection_hooks.append(opened.append)
    try:
        yield opened
    finally:
        apsw.connection_hooks.remove(opened.append)


class ObservedWriter(DeltaStoreWriter):
    """A writer whose connection to SQLite the test can observe."""

    connection: SqliteConnection
    """The newest one: a store that is made, or replaced, is opened anew. Absent before there is a store."""

    def __init__(self, path: Path) -> None:
        with self._observed():
            super().__init__(path)

    def initialise(self, identity: StoreIdentity) -> None:
        with self._observed():
            super().initialise(identity)

    def replace(self, copy: FullCopy) -> None:
        with self._observed():
            super().replace(copy)

    @contextmanager
    def _observed(self) -> Iterator[None]:
        with opened_connections() as opened:
            yield
        for connection in opened:
            if isinstance(connection, SqliteConnection):
                self.connection = connection


@dataclass
class Delta:
    """What a device is told: texts by row, and the rows that it deletes."""

    insert: dict[Row, str]
    update: dict[Row, str]
    deleted: set[Row]

    def applied_to(self, view: dict[Row, str]) -> dict[Row, str]:
        assert not self.insert.keys() & view.keys()
        assert self.update.keys() <= view.keys()
        assert self.deleted <= view.keys()
        return {row: body for row, body in view.items() if row not in self.deleted} | self.update | self.insert


@dataclass
class Store:
    """A store, and the history that is published into it step by step."""

    writer: DeltaStoreWriter
    worlds: list[World]
    opened: DeltaStoreReader | None = None

    @property
    def reader(self) -> DeltaStoreReader:
        """Of what is at the location now: a full copy may have replaced the store."""
        if self.opened is None or not self.opened.is_current():
            self.close()
            self.opened = DeltaStoreReader(self.writer.location)
        return self.opened

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()

    def publish_next(self) -> bool:
        seq = self.writer.published_seq + 1
        if seq >= len(self.worlds):
            return False
        self.writer.apply(change_set(seq, self.worlds[seq - 1], self.worlds[seq], TERRITORIES))
        return True

    def publish_all(self) -> None:
        while self.publish_next():
            pass

    def state(self) -> StoreState:
        return self.reader.state(None)

    def view(self, scope: frozenset[str], seq: int) -> View:
        known = self.state().territories
        return View({known[territory].key for territory in scope if territory in known}, seq)

    def delta(
        self,
        was: tuple[frozenset[str], int],
        now: tuple[frozenset[str], int],
        limit: int = 1000,
        *,
        publish: bool = False,
        or_later: bool = False,
    ) -> Delta:
        """Read page by page; with ``publish``, a publication happens between any two pages."""
        delta, after, row_ids = Delta({}, {}, set()), None, self._row_ids()
        views = self.view(*was), self.view(*now)
        while True:
            rows, after = self.reader.page(
                *views, (), generation=self.state().generation, limit=limit, after=after, or_later=or_later
            )
            assert len(rows) <= limit
            for row in rows:
                self._note(delta, row, row_ids)
            if after is None:
                return delta
            if publish:
                self.publish_next()

    def bucket_digests(self, scope: frozenset[str], seq: int) -> list[list[int]]:
        contents = self.reader.contents(self.view(scope, seq), (), generation=self.state().generation)
        return [list(digests) for digests in bucket_digests(contents, len(OBJECTS))]

    def repair(self, held: dict[Row, str], scope: frozenset[str], seq: int) -> Delta:
        """Both rounds of a reconcile."""
        pairs = zip(buckets_of(held), self.bucket_digests(scope, seq), strict=True)
        asked = {}
        for key, (theirs, ours) in enumerate(pairs):
            differing = frozenset(bucket for bucket in range(256) if theirs[bucket] != ours[bucket])
            versions = {
                row[1]: f"{version_of(body):016x}"
                for row, body in held.items()
                if row[0] == OBJECTS[key] and bucket_of(row) in differing
            }
            asked[key] = Held(differing, versions)
        view, delta = self.view(scope, seq), Delta({}, {}, set())
        for found in differing_rows(self.reader, view, asked, generation=self.state().generation, max_rows=1000):
            if found.body is None:
                assert found.row_id is not None
                delta.deleted.add((OBJECTS[found.object], found.row_id))
            else:
                self._note(delta, found, self._row_ids())
        return delta

    def _row_ids(self) -> dict[int, Row]:
        with reading(self.writer.location) as tables:
            rows = tables.execute("SELECT key, object, row_id FROM row")
            return {key: (OBJECTS[obj], id_) for key, obj, id_ in rows}

    def _note(self, delta: Delta, found: DeltaRow, row_ids: dict[int, Row]) -> None:
        row = row_ids[found.row_key]
        assert row not in delta.insert.keys() | delta.update.keys() | delta.deleted, "law 2: named once"
        if found.body is None:
            assert found.row_id == row[1]
            delta.deleted.add(row)
        else:
            body = found.body.decode()
            assert found.version is not None
            assert unsigned(found.version) == version_of(body)
            (delta.update if found.was_visible else delta.insert)[row] = body


def bucket_of(row: Row) -> int:
    return hashlib.sha256(row[1].encode()).digest()[0]


def buckets_of(view: dict[Row, str]) -> list[list[int]]:
    sums = [[0] * 256 for _ in OBJECTS]
    for row, body in view.items():
        sums[OBJECTS.index(row[0])][bucket_of(row)] += digest_of(row, body)
    return [[total % 2**64 for total in totals] for totals in sums]


@contextmanager
def store_of(engine: str, worlds: list[World]) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as home:
        location = new_location(engine, Path(home))
        with opened_connections() as opened, DeltaStoreWriter(location) as writer:
            writer.initialise(IDENTITY)
            for connection in opened:
                # No test of the laws needs a store that outlives a power failure.
                with suppress(apsw.ConnectionClosedError):
                    connection.execute("PRAGMA synchronous = OFF")
            with closing(Store(writer, worlds)) as store:
                yield store
