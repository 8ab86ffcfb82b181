"""One publication into the store: its rows staged one by one, everything applied set by set.

The cost follows what changes. A row that moves between territories touches integers only, never its body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from delta_service.store.batches import batches
from delta_service.store.changes import OPEN_SEQ, ChangeSet, Publication, RowChange, TerritoryHeld
from delta_service.store.engine import WriteConnection
from delta_service.store.errors import ChangeSetError, StaleSeqError
from delta_service.store.moves import apply_moves
from delta_service.store.schema import DELETE_HELD, INSERT_BODY, INSERT_HEAD, INSERT_HELD, signed
from delta_service.store.territory_keys import TerritoryKeys
from delta_service.store.times import to_microseconds

STAGED_ROW = """CREATE TEMP TABLE staged_row (
    object INTEGER NOT NULL, row_id TEXT NOT NULL, version BIGINT, digest BIGINT, body_key BIGINT, merged_into TEXT,
    PRIMARY KEY (object, row_id))"""
STAGE_ROW = "INSERT INTO staged_row (object, row_id, version, digest, body_key, merged_into) VALUES (?, ?, ?, ?, ?, ?)"
NEXT_BODY_KEY = "SELECT coalesce(max(body_key), 0) + 1 FROM row_body"

# The same history gives the same keys, on a replica that was promoted too early as well: page tokens hold such keys.
ADD_ROWS = """INSERT INTO row (key, object, row_id)
    SELECT (SELECT coalesce(max(key), 0) FROM row) + row_number() OVER (ORDER BY object, row_id), object, row_id
    FROM staged_row AS staged
    WHERE NOT EXISTS (SELECT 1 FROM row WHERE row.object = staged.object AND row.row_id = staged.row_id)"""
# A cross join goes from the left to the right in SQLite, which would else read all rows for the sake of their order.
KEY_ROWS = """CREATE TEMP TABLE changed_row AS
    SELECT row.key AS row_key, staged.version, staged.digest, staged.body_key, staged.merged_into
    FROM staged_row AS staged CROSS JOIN row WHERE row.object = staged.object AND row.row_id = staged.row_id
    ORDER BY row.key"""
# ``OR ROLLBACK``: a publication that fails fails whole. To undo one statement alone, as it would else, SQLite keeps the
# page that each row is on as it was, in a file.
CLOSE_VERSIONS = """UPDATE OR ROLLBACK row_version SET to_seq = :seq
    WHERE to_seq = :open AND row_key IN (SELECT row_key FROM changed_row)"""
OPEN_VERSIONS = """INSERT OR ROLLBACK INTO row_version (row_key, from_seq, to_seq, version, digest, body_key)
    SELECT row_key, :seq, :open, version, digest, body_key FROM changed_row WHERE body_key IS NOT NULL"""
SET_MERGED = """UPDATE row SET merged_into = changed.merged_into FROM changed_row AS changed
    WHERE changed.row_key = row.key AND row.merged_into IS DISTINCT FROM changed.merged_into"""

# A clock that was set back must not make a time resolve to a publication later than the one a device knew then.
INSERT_PUBLICATION = """INSERT INTO publication (seq, as_of_us, published_at_us)
    SELECT :seq, CASE WHEN :as_of_us > as_of_us THEN :as_of_us ELSE as_of_us END,
        CASE WHEN :published_at_us > newest THEN :published_at_us ELSE newest END
    FROM meta CROSS JOIN (SELECT coalesce(max(published_at_us), 0) AS newest FROM publication) AS last"""
# The fence: of two writers with the same publication, one changes no row here.
PUBLISH = """UPDATE meta SET published_seq = :seq,
    as_of_us = CASE WHEN as_of_us > :as_of_us THEN as_of_us ELSE :as_of_us END
    WHERE published_seq = :seq - 1"""


def apply(connection: WriteConnection, change_set: ChangeSet) -> None:
    """Apply a publication inside the caller's transaction. Raises ChangeSetError, StaleSeqError."""
    publication = change_set.publication
    bounds = {"seq": publication.seq, "open": OPEN_SEQ}
    objects: dict[str, int] = dict(connection.execute("SELECT name, key FROM object"))
    territories = TerritoryKeys(connection)
    connection.execute(STAGED_ROW)
    try:
        _apply_rows(connection, change_set.rows, objects, bounds)
        apply_moves(connection, change_set.visibility, objects, territories, bounds)
        connection.executemany(
            INSERT_HEAD,
            (
                (territories[territory], objects[name], publication.seq, rows, signed(digest))
                for territory, name, rows, digest in change_set.heads
            ),
        )
        _set_held(connection, change_set.held, objects, territories)
        territories.save()
    except KeyError as error:
        raise ChangeSetError(f"object {error} is not served") from None
    for table in ("staged_row", "changed_row"):
        connection.execute(f"DROP TABLE {table}")
    _publish(connection, publication)


def _apply_rows(
    connection: WriteConnection, rows: Iterable[RowChange], objects: dict[str, int], bounds: dict[str, int]
) -> None:
    next_body_key: int = connection.execute(NEXT_BODY_KEY).get
    for batch in batches(rows):
        staged: list[tuple[Any, ...]] = []
        bodies: list[tuple[int, bytes]] = []
        for name, row_id, version, digest, body, merged_into in batch:
            if body is None:
                staged.append((objects[name], row_id, None, None, None, merged_into))
                continue
            if version is None or digest is None:
                raise ChangeSetError(f"{name} {row_id} has a body but no version or digest")
            staged.append((objects[name], row_id, signed(version), signed(digest), next_body_key, merged_into))
            bodies.append((next_body_key, body.encode()))
            next_body_key += 1
        connection.executemany(STAGE_ROW, staged)
        connection.executemany(INSERT_BODY, bodies)
    for statement in (ADD_ROWS, KEY_ROWS, CLOSE_VERSIONS, OPEN_VERSIONS, SET_MERGED):
        connection.execute(statement, bounds)


def _set_held(
    connection: WriteConnection, held: Iterable[TerritoryHeld], objects: dict[str, int], territories: TerritoryKeys
) -> None:
    now = [
        (territories[territory], objects[name], rows, to_microseconds(since)) for territory, name, rows, since in held
    ]
    if now:
        connection.executemany(DELETE_HELD, [(territory, name) for territory, name, _, _ in now])
        connection.executemany(INSERT_HELD, [one for one in now if one[2]])


def _publish(connection: WriteConnection, publication: Publication) -> None:
    times = {
        "seq": publication.seq,
        "as_of_us": to_microseconds(publication.as_of),
        "published_at_us": to_microseconds(publication.published_at),
    }
    connection.execute(INSERT_PUBLICATION, times)
    connection.execute(PUBLISH, times)
    if connection.changes() != 1:
        raise StaleSeqError(f"publication {publication.seq} does not follow the newest one")
