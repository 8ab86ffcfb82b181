"""The whole store anew, in one transaction: readers see the old content until it commits.

Rows stream through in batches; nothing but the territories' keys is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from delta_service.store import schema
from delta_service.store.batches import batches
from delta_service.store.changes import OPEN_SEQ, FullCopy, Publication, RowInterval, StoreIdentity
from delta_service.store.engine import WriteConnection
from delta_service.store.errors import ChangeSetError
from delta_service.store.schema import INSERT_BODY, INSERT_HEAD, signed
from delta_service.store.territory_keys import TerritoryKeys
from delta_service.store.times import to_microseconds

INSERT_PUBLICATION = "INSERT INTO publication (seq, as_of_us, published_at_us) VALUES (?, ?, ?)"

STAGE_VERSIONS = """CREATE TEMP TABLE staged_version (
    object INTEGER NOT NULL, row_id TEXT NOT NULL, from_seq BIGINT NOT NULL, to_seq BIGINT NOT NULL,
    version BIGINT NOT NULL, digest BIGINT NOT NULL, body_key BIGINT)"""
STAGE_VERSION = """INSERT INTO staged_version (object, row_id, from_seq, to_seq, version, digest, body_key)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
ADD_ROWS = """INSERT INTO row (key, object, row_id)
    SELECT (SELECT coalesce(max(key), 0) FROM row) + row_number() OVER (ORDER BY object, row_id), object, row_id
    FROM (SELECT DISTINCT object, row_id FROM staged_version) AS staged
    WHERE NOT EXISTS (SELECT 1 FROM row WHERE row.object = staged.object AND row.row_id = staged.row_id)"""
ADD_VERSIONS = """INSERT INTO row_version (row_key, from_seq, to_seq, version, digest, body_key)
    SELECT row.key, staged.from_seq, staged.to_seq, staged.version, staged.digest, staged.body_key
    FROM staged_version AS staged JOIN row ON row.object = staged.object AND row.row_id = staged.row_id
    ORDER BY row.key, staged.from_seq"""
DROP_VERSIONS = "DROP TABLE staged_version"
SET_MERGED = "UPDATE row SET merged_into = ? WHERE object = ? AND row_id = ?"
OLDEST_BODY_SEQ = f"""SELECT coalesce(max(to_seq), 0), count(*) FILTER (WHERE to_seq = {OPEN_SEQ})
    FROM row_version WHERE body_key IS NULL"""

CREATE_STAGING = """CREATE TEMP TABLE staged_visibility (
    territory INTEGER NOT NULL, object INTEGER NOT NULL, row_id TEXT NOT NULL,
    from_seq BIGINT NOT NULL, to_seq BIGINT NOT NULL)"""
STAGE_VISIBILITY = "INSERT INTO staged_visibility (territory, object, row_id, from_seq, to_seq) VALUES (?, ?, ?, ?, ?)"
COUNT_STAGED = "SELECT count(*) FROM staged_visibility"
# touched_seq of an open interval: its start, or the newest content change of its row if that is later.
LOAD_VISIBILITY = """INSERT INTO visibility (territory, object, row_key, from_seq, to_seq, touched_seq)
    SELECT territory, object, row_key, from_seq, to_seq,
           CASE WHEN to_seq < :open THEN to_seq WHEN changed_seq > from_seq THEN changed_seq ELSE from_seq END
               AS touched_seq
    FROM (SELECT staged.territory, staged.object, row.key AS row_key, staged.from_seq, staged.to_seq,
                 coalesce((SELECT max(CASE WHEN version.to_seq < :open THEN version.to_seq ELSE version.from_seq END)
                           FROM row_version AS version WHERE version.row_key = row.key), 0) AS changed_seq
          FROM staged_visibility AS staged
          JOIN row ON row.object = staged.object AND row.row_id = staged.row_id) AS keyed
    ORDER BY territory, object, row_key, from_seq"""
DROP_STAGING = "DROP TABLE staged_visibility"
SET_STATE = """UPDATE meta SET published_seq = :published_seq, horizon_seq = :horizon_seq,
    body_horizon_seq = :body_horizon_seq, as_of_us = :as_of_us"""


def create_tables(connection: WriteConnection) -> None:
    for statement in schema.TABLES.values():
        connection.execute(statement)


def create_indexes(connection: WriteConnection) -> None:
    """The secondary indexes, and what the planner has to know to use them well."""
    for statement in schema.INDEXES:
        connection.execute(statement)
    connection.end_load()


def write_identity(connection: WriteConnection, identity: StoreIdentity, *, generation: str) -> None:
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


def replace(connection: WriteConnection, copy: FullCopy, *, generation: str) -> None:
    """Load a full copy inside the caller's transaction. Raises ChangeSetError when it contradicts itself."""
    connection.begin_load()
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
        territories.save()
    except KeyError as error:
        raise ChangeSetError(f"object {error} is not served") from None
    create_indexes(connection)
    _finish(connection, copy.horizon_seq)


def _publications(publications: Iterable[Publication]) -> Iterator[tuple[int, int, int]]:
    newest = 0
    for publication in publications:
        newest = max(newest, to_microseconds(publication.published_at))
        yield publication.seq, to_microseconds(publication.as_of), newest


def _load_versions(connection: WriteConnection, rows: Iterable[RowInterval], objects: dict[str, int]) -> None:
    next_body_key = 1
    for batch in batches(rows):
        versions: list[tuple[Any, ...]] = []
        bodies: list[tuple[int, bytes]] = []
        for row in batch:
            body_key = None
            if row.body is not None:
                body_key = next_body_key
                bodies.append((body_key, row.body.encode()))
                next_body_key += 1
            content = signed(row.version), signed(row.digest), body_key
            versions.append((objects[row.object], row.row_id, row.from_seq, row.to_seq, *content))
        connection.execute(STAGE_VERSIONS)
        connection.executemany(STAGE_VERSION, versions)
        for statement in (ADD_ROWS, ADD_VERSIONS, DROP_VERSIONS):
            connection.execute(statement)
        connection.executemany(INSERT_BODY, bodies)
        merged = [(r.merged_into, objects[r.object], r.row_id) for r in batch if r.merged_into is not None]
        connection.executemany(SET_MERGED, merged)


def _load_visibility(connection: WriteConnection, staged: Iterator[tuple[Any, ...]]) -> None:
    connection.execute(CREATE_STAGING)
    connection.executemany(STAGE_VISIBILITY, staged)
    count = connection.execute(COUNT_STAGED).get
    connection.execute(LOAD_VISIBILITY, {"open": OPEN_SEQ})
    if connection.changes() != count:
        raise ChangeSetError("a row is visible that has no content")
    connection.execute(DROP_STAGING)


def _finish(connection: WriteConnection, horizon_seq: int) -> None:
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
