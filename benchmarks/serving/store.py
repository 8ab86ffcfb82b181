"""The delta store that the serving scenarios read: size S, and 50 publications of small changes on top of it.

Publication 2 gives two more territories a view of a known size. Each later one changes the same 20 accounts in each of
the first 200 territories, so that every cursor from 2 on is answered by 20 rows, whatever lies in between.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import apsw
import orjson

from benchmarks.data import CACHE, SMALL, published
from delta_service.cursor import Anchor, Cursor
from delta_service.store.changes import (
    OPEN_SEQ,
    ChangeSet,
    Publication,
    RowChange,
    TerritoryHead,
    VisibilityChange,
)
from delta_service.store.moves import visibility_table
from delta_service.store.schema import unsigned
from delta_service.store.writer import DeltaStoreWriter

PUBLICATIONS = 50
CHANGED_ROWS = 20
FIRST_SEQ = 2
NEWEST_SEQ = FIRST_SEQ + PUBLICATIONS
SNAPSHOT_ROWS = 5_000
LARGE_ROWS = 50_000
SNAPSHOT_TERRITORY, LARGE_TERRITORY = "BENCH-5000", "BENCH-50000"
# Publications are counted from then on, one each 15 s.
START = datetime(2026, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    object: str
    row_id: str
    digest: int
    """Unsigned 64 bits."""
    body: bytes


@dataclass(frozen=True)
class ServedStore:
    """A store's folder, and what is needed to ask about it."""

    home: Path
    territories: tuple[str, ...]
    """Those with 20 changes each."""
    epoch: str
    cursor_key: bytes

    def cursor(self, territory: str, seq: int) -> str:
        """What a device of the territory holds that was up to date at a publication."""
        return Cursor(self.epoch, (Anchor((territory,), seq, None),)).encode(self.cursor_key)


@contextmanager
def served_store() -> Iterator[ServedStore]:
    """A fresh copy. The original is made once and kept beside the others."""
    original = CACHE / "serving" / "delta.sqlite"
    if not original.exists():
        _build(original)
    home = Path(tempfile.mkdtemp(prefix="run-serving-", dir=CACHE))
    try:
        shutil.copyfile(original, home / "delta.sqlite")
        connection = open_store(home)
        epoch, key = connection.execute("SELECT epoch, cursor_key FROM meta").get
        names = [id_ for (id_,) in connection.execute("SELECT id FROM territory ORDER BY id")]
        connection.close()
        usual = tuple(id_ for id_ in names if id_ not in (SNAPSHOT_TERRITORY, LARGE_TERRITORY))
        yield ServedStore(home, usual, epoch, key)
    finally:
        shutil.rmtree(home)


def open_store(home: Path) -> apsw.Connection:
    return apsw.Connection(str(home / "delta.sqlite"), flags=apsw.SQLITE_OPEN_READWRITE)


def publish(
    writer: DeltaStoreWriter,
    connection: apsw.Connection,
    rows: Iterable[Row] = (),
    visibility: Iterable[VisibilityChange] = (),
) -> int:
    """One publication, with its heads worked out from the store. Returns its number."""
    visibility = list(visibility)
    changes = [_changed(row) for row in rows]
    seq = writer.published_seq + 1
    at = START + timedelta(seconds=15 * seq)
    heads = _heads(connection, changes, visibility)
    writer.apply(
        ChangeSet(Publication(seq, at, at), [change for change, _ in changes], visibility_table(visibility), heads)
    )
    return seq


def _changed(row: Row) -> tuple[RowChange, Row]:
    version = hashlib.sha256(row.body).hexdigest()[:16]
    digest = hash64(f"{row.object}|{row.row_id}|{version}")
    return RowChange(row.object, row.row_id, int(version, 16), digest, row.body.decode()), row


def hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _heads(
    connection: apsw.Connection, rows: list[tuple[RowChange, Row]], visibility: list[VisibilityChange]
) -> list[TerritoryHead]:
    """Sizes and digests after the changes; a row that changes and moves at once is not provided for."""
    delta: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for change, row in rows:
        seen = (
            "SELECT territory.id FROM row JOIN object ON object.key = row.object JOIN visibility ON row_key = row.key"
        )
        seen += " JOIN territory ON territory.key = territory WHERE object.name = ? AND row_id = ? AND to_seq = ?"
        for (territory,) in connection.execute(seen, (row.object, row.row_id, OPEN_SEQ)):
            assert change.digest is not None
            delta[territory, row.object][1] += change.digest - row.digest
    digests = "SELECT digest FROM row JOIN object ON object.key = row.object JOIN row_version ON row_key = row.key"
    digests += " WHERE object.name = ? AND row_id = ? AND to_seq = ?"
    for move in visibility:
        digest = unsigned(connection.execute(digests, (move.object, move.row_id, OPEN_SEQ)).get)
        sign = 1 if move.entered else -1
        delta[move.territory, move.object][0] += sign
        delta[move.territory, move.object][1] += sign * digest
    newest = (
        "SELECT rows, digest FROM head JOIN territory ON territory.key = territory JOIN object ON object.key = object"
    )
    newest += " WHERE territory.id = ? AND object.name = ? ORDER BY seq DESC LIMIT 1"
    heads = []
    for (territory, name), (count, digest) in delta.items():
        old_count, old_digest = connection.execute(newest, (territory, name)).get or (0, 0)
        heads.append(TerritoryHead(territory, name, old_count + count, (old_digest + digest) % 2**64))
    return heads


def _build(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with published(SMALL) as stores:
        connection = open_store(stores.folder)
        writer = stores.writer
        fixed = "SELECT object.name, row_id FROM row JOIN object ON object.key = row.object WHERE object.key > 0"
        rows = list(connection.execute(f"{fixed} ORDER BY row_id LIMIT {LARGE_ROWS}"))
        views = ((SNAPSHOT_TERRITORY, rows[:SNAPSHOT_ROWS]), (LARGE_TERRITORY, rows))
        entering = [VisibilityChange(name, *row, entered=True) for name, members in views for row in members]
        assert publish(writer, connection, visibility=entering) == FIRST_SEQ
        changing = accounts_to_change(connection)
        for number in range(PUBLICATIONS):
            changing = changed(writer, connection, changing, f"after publication {number}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        shutil.copyfile(stores.folder / "delta.sqlite", path)


def changed(writer: DeltaStoreWriter, connection: apsw.Connection, rows: list[Row], location: str) -> list[Row]:
    """Publish another content of these rows, and return them as they are then."""
    contents = [row._replace(body=orjson.dumps(orjson.loads(row.body) | {"location": location})) for row in rows]
    publish(writer, connection, contents)
    return [row._replace(digest=_digest(row)) for row in contents]


def accounts_to_change(connection: apsw.Connection, territories: Collection[str] | None = None) -> list[Row]:
    """20 accounts of each territory, or of those named, seen by no other."""
    sole = f"""SELECT min(territory.id), object.name, row.row_id, row_version.digest, body
        FROM row JOIN object ON object.key = row.object AND object.key = 0
        JOIN visibility ON visibility.row_key = row.key JOIN territory ON territory.key = visibility.territory
        JOIN row_version ON row_version.row_key = row.key JOIN row_body USING (body_key)
        WHERE visibility.to_seq = {OPEN_SEQ} AND row_version.to_seq = {OPEN_SEQ}
        GROUP BY row.key HAVING count(*) = 1 ORDER BY row.key"""
    chosen: dict[str, list[Row]] = defaultdict(list)
    for territory, name, row_id, digest, body in connection.execute(sole):
        if (territories is None or territory in territories) and len(chosen[territory]) < CHANGED_ROWS:
            chosen[territory].append(Row(name, row_id, unsigned(digest), body))
    assert all(len(rows) == CHANGED_ROWS for rows in chosen.values())
    return [row for rows in chosen.values() for row in rows]


def _digest(row: Row) -> int:
    digest = _changed(row)[0].digest
    assert digest is not None
    return digest
