"""The whole store anew, in one transaction: readers see the old content until it commits.

Rows stream through; nothing but the territories' keys is held in memory. Each table is written once, in the order that
the copy has, and indexed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from delta_service.store import schema
from delta_service.store.changes import OPEN_SEQ, FullCopy, Publication, StoreIdentity
from delta_service.store.engine import WriteConnection
from delta_service.store.errors import ChangeSetError
from delta_service.store.schema import INSERT_BODY, INSERT_HEAD, INSERT_HELD, signed
from delta_service.store.territory_keys import TerritoryKeys
from delta_service.store.times import to_microseconds

INSERT_PUBLICATION = "INSERT INTO publication (seq, as_of_us, published_at_us) VALUES (?, ?, ?)"
INSERT_ROW = "INSERT INTO row (key, object, row_id, merged_into) VALUES (?, ?, ?, ?)"
INSERT_VERSION = """INSERT INTO row_version (row_key, from_seq, to_seq, version, digest, body_key)
    VALUES (?, ?, ?, ?, ?, ?)"""
INSERT_VISIBILITY = """INSERT INTO visibility (territory, object, row_key, from_seq, to_seq, touched_seq)
    VALUES (?, ?, ?, ?, ?, ?)"""
OLDEST_BODY_SEQ = f"""SELECT coalesce(max(to_seq), 0), count(*) FILTER (WHERE to_seq = {OPEN_SEQ})
    FROM row_version WHERE body_key IS NULL"""
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
        connection.executemany(
            INSERT_ROW,
            ((key, objects[name], row_id, merged) for key, (name, row_id, merged) in enumerate(copy.rows, start=1)),
        )
        connection.executemany(INSERT_BODY, copy.bodies)
        connection.executemany(
            INSERT_VERSION,
            (
                (row, from_seq, to_seq, signed(version), signed(digest), body)
                for row, from_seq, to_seq, version, digest, body in copy.versions
            ),
        )
        connection.executemany(
            INSERT_VISIBILITY,
            (
                (territories[territory], objects[name], row, from_seq, to_seq, touched_seq)
                for territory, name, row, from_seq, to_seq, touched_seq in copy.visibility
            ),
        )
        connection.executemany(
            INSERT_HEAD,
            (
                (territories[territory], objects[name], seq, rows, signed(digest))
                for territory, name, seq, rows, digest in copy.heads
            ),
        )
        connection.executemany(
            INSERT_HELD,
            (
                (territories[territory], objects[name], rows, to_microseconds(since))
                for territory, name, rows, since in copy.held
            ),
        )
        territories.save()
    except KeyError as error:
        raise ChangeSetError(f"object {error} is not served") from None
    create_indexes(connection)
    _finish(connection, copy.horizon_seq)


def _publications(publications: Iterable[Publication]) -> Iterator[tuple[int, int, int]]:
    as_of = newest = 0
    for publication in publications:
        as_of = max(as_of, to_microseconds(publication.as_of))
        newest = max(newest, to_microseconds(publication.published_at))
        yield publication.seq, as_of, newest


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
