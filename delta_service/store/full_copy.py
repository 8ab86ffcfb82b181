"""The whole store anew, in one transaction: readers see the old content until it commits.

Rows stream through in batches; nothing but the territories' keys is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from delta_service.store import schema
from delta_service.store.batches import batches
from delta_service.store.changes import OPEN_SEQ, FullCopy, Publication, RowInterval, StoreIdentity
from delta_service.store.connection import to_microseconds
from delta_service.store.errors import ChangeSetError
from delta_service.store.schema import INSERT_BODY, INSERT_HEAD, signed
from delta_service.store.territory_keys import TerritoryKeys

BULK_CACHE_KIB = 262_144

INSERT_PUBLICATION = "INSERT INTO publication (seq, as_of_us, published_at_us) VALUES (?, ?, ?)"
ADD_ROW = "INSERT INTO row (object, row_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
ADD_VERSION = """INSERT INTO row_version (row_key, from_seq, to_seq, version, digest, body_key)
    SELECT key, :from_seq, :to_seq, :version, :digest, :body_key FROM row WHERE object = :object AND row_id = :row_id"""
SET_MERGED = "UPDATE row SET merged_into = ? WHERE object = ? AND row_id = ?"
OLDEST_BODY_SEQ = f"""SELECT coalesce(max(to_seq), 0), count(*) FILTER (WHERE to_seq = {OPEN_SEQ})
    FROM row_version WHERE body_key IS NULL"""

CREATE_STAGING = """CREATE TEMP TABLE staged_visibility (
    territory INTEGER NOT NULL, object INTEGER NOT NULL, row_id TEXT NOT NULL,
    from_seq BIGINT NOT NULL, to_seq BIGINT NOT NULL)"""
STAGE_VISIBILITY = "INSERT INTO staged_visibility VALUES (?, ?, ?, ?, ?)"
COUNT_STAGED = "SELECT count(*) FROM staged_visibility"
# touched_seq of an open interval: its start, or the newest content change of its row if that is later.
LOAD_VISIBILITY = """INSERT INTO visibility (territory, object, row_key, from_seq, to_seq, touched_seq)
    SELECT territory, object, row_key, from_seq, to_seq,
           CASE WHEN to_seq < :open THEN to_seq WHEN changed_seq > from_seq THEN changed_seq ELSE from_seq END
    FROM (SELECT staged.territory, staged.object, row.key AS row_key, staged.from_seq, staged.to_seq,
                 coalesce((SELECT max(CASE WHEN version.to_seq < :open THEN version.to_seq ELSE version.from_seq END)
                           FROM row_version AS version WHERE version.row_key = row.key), 0) AS changed_seq
          FROM staged_visibility AS staged
          JOIN row ON row.object = staged.object AND row.row_id = staged.row_id) AS keyed
    ORDER BY territory, object, row_key, from_seq"""
DROP_STAGING = "DROP TABLE temp.staged_visibility"
SET_STATE = """UPDATE meta SET published_seq = :published_seq, horizon_seq = :horizon_seq,
    body_horizon_seq = :body_horizon_seq, as_of_us = :as_of_us"""


def create_tables(connection: apsw.Connection) -> None:
    for statement in schema.TABLES.values():
        connection.execute(statement)


def create_indexes(connection: apsw.Connection) -> None:
    """The secondary indexes, and what the planner has to know to use them well."""
    for statement in schema.INDEXES:
        connection.execute(statement)
    connection.execute("ANALYZE")
    connection.execute("DELETE FROM sqlite_stat1")
    connection.executemany(schema.INSERT_STATISTICS, schema.PLANNER_STATISTICS)
    connection.execute("ANALYZE sqlite_schema")


def write_identity(connection: apsw.Connection, identity: StoreIdentity, *, generation: str) -> None:
    """Fill ``meta`` and ``object`` of an empty store."""
    connection.execute(
        schema.INSERT_META,
        {
            "schema_version": schema.SCHEMA_VERSION,
            "epoch": identity.epoch,
            "cursor_key": identity.cursor_key,
            "generation": generation,
            "published_seq": 0,
            "horizon_seq": 0,
            "body_horizon_seq": 0,
            "as_of_us": 0,
        },
    )
    connection.executemany(schema.INSERT_OBJECT, enumerate(identity.objects))


def replace(connection: apsw.Connection, copy: FullCopy, *, generation: str) -> None:
    """Load a full copy inside the caller's transaction. Raises ChangeSetError when it contradicts itself."""
    connection.execute(f"PRAGMA cache_size = -{BULK_CACHE_KIB}")
    for table in schema.TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    create_tables(connection)
    write_identity(connection, copy.identity, generation=generation)
    objects = {name: key for key, name in enumerate(copy.identity.objects)}
    territories = TerritoryKeys(connection)
    try:
        connection.executemany(INSERT_PUBLICATION, _publications(copy.publications))
        _load_versions(connection, copy.rows, objects)
        _load_visibility(
            connection,
            ((territories[v.territory], objects[v.object], v.row_id, v.from_seq, v.to_seq) for v in copy.visibility),
        )
        connection.executemany(
            INSERT_HEAD,
            (
                (territories[h.head.territory], objects[h.head.object], h.seq, h.head.rows, signed(h.head.digest))
                for h in copy.heads
            ),
        )
    except KeyError as error:
        raise ChangeSetError(f"object {error} is not served") from None
    create_indexes(connection)
    _finish(connection, copy.horizon_seq)


def _publications(publications: Iterable[Publication]) -> Iterator[tuple[int, int, int]]:
    newest = 0
    for publication in publications:
        newest = max(newest, to_microseconds(publication.published_at))
        yield publication.seq, to_microseconds(publication.as_of), newest


def _load_versions(connection: apsw.Connection, rows: Iterable[RowInterval], objects: dict[str, int]) -> None:
    next_body_key = 1
    for batch in batches(rows):
        versions: list[dict[str, Any]] = []
        bodies: list[tuple[int, bytes]] = []
        for row in batch:
            body_key = None
            if row.body is not None:
                body_key = next_body_key
                bodies.append((body_key, row.body.encode()))
                next_body_key += 1
            versions.append(
                {
                    "object": objects[row.object],
                    "row_id": row.row_id,
                    "from_seq": row.from_seq,
                    "to_seq": row.to_seq,
                    "version": signed(row.version),
                    "digest": signed(row.digest),
                    "body_key": body_key,
                }
            )
        connection.executemany(ADD_ROW, [(v["object"], v["row_id"]) for v in versions])
        connection.executemany(ADD_VERSION, versions)
        connection.executemany(INSERT_BODY, bodies)
        merged = [(r.merged_into, objects[r.object], r.row_id) for r in batch if r.merged_into is not None]
        connection.executemany(SET_MERGED, merged)


def _load_visibility(connection: apsw.Connection, staged: Iterator[tuple[Any, ...]]) -> None:
    connection.execute(CREATE_STAGING)
    connection.executemany(STAGE_VISIBILITY, staged)
    count = connection.execute(COUNT_STAGED).get
    connection.execute(LOAD_VISIBILITY, {"open": OPEN_SEQ})
    if connection.changes() != count:
        raise ChangeSetError("a row is visible that has no content")
    connection.execute(DROP_STAGING)


def _finish(connection: apsw.Connection, horizon_seq: int) -> None:
    body_horizon_seq, bodyless_rows = connection.execute(OLDEST_BODY_SEQ).get
    if bodyless_rows:
        raise ChangeSetError(f"{bodyless_rows} current rows have no body")
    newest = connection.execute("SELECT seq, as_of_us FROM publication ORDER BY seq DESC LIMIT 1").get
    published_seq, as_of_us = newest or (0, 0)
    connection.execute(
        SET_STATE,
        {
            "published_seq": published_seq,
            "horizon_seq": horizon_seq,
            "body_horizon_seq": max(body_horizon_seq, horizon_seq),
            "as_of_us": as_of_us,
        },
    )
