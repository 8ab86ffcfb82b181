"""The delta store's tables.

Rows, territories and objects have small integer keys: the big tables (``visibility``, ``row_version``) hold integers
only and are clustered by the question a device asks. Bodies stand by themselves, so that no other change moves text.
Written in SQLite's words: ``WITHOUT ROWID`` tells it to cluster by the primary key, ``INTEGER PRIMARY KEY`` makes a key
the row's address. PostgreSQL's words for these are in ``postgres.py``.
"""

from __future__ import annotations

from delta_service.store.changes import OPEN_SEQ

SCHEMA_VERSION = 1

# Children first, so that tables may be dropped in this order on engines with foreign keys as well.
TABLES = {
    # One row. ``generation`` changes whenever row keys are assigned anew; times are microseconds since 1970, UTC.
    "meta": """CREATE TABLE IF NOT EXISTS meta (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        schema_version INTEGER NOT NULL,
        epoch TEXT NOT NULL,
        cursor_key BLOB NOT NULL,
        generation TEXT NOT NULL,
        published_seq BIGINT NOT NULL,
        horizon_seq BIGINT NOT NULL,
        body_horizon_seq BIGINT NOT NULL,
        as_of_us BIGINT NOT NULL)""",
    # Served objects; ``key`` is the position in the answer.
    "object": "CREATE TABLE IF NOT EXISTS object (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "publication": """CREATE TABLE IF NOT EXISTS publication (
        seq INTEGER PRIMARY KEY,
        as_of_us BIGINT NOT NULL,
        published_at_us BIGINT NOT NULL)""",
    "territory": "CREATE TABLE IF NOT EXISTS territory (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT)",
    "row": """CREATE TABLE IF NOT EXISTS row (
        key INTEGER PRIMARY KEY,
        object INTEGER NOT NULL,
        row_id TEXT NOT NULL,
        merged_into TEXT,
        UNIQUE (object, row_id))""",
    # ``version`` and ``digest`` are unsigned 64-bit numbers stored as signed. ``body_key`` is NULL when pruned.
    "row_version": """CREATE TABLE IF NOT EXISTS row_version (
        row_key BIGINT NOT NULL,
        from_seq BIGINT NOT NULL,
        to_seq BIGINT NOT NULL,
        version BIGINT NOT NULL,
        digest BIGINT NOT NULL,
        body_key BIGINT,
        PRIMARY KEY (row_key, from_seq)) WITHOUT ROWID""",
    "row_body": "CREATE TABLE IF NOT EXISTS row_body (body_key INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    # ``touched_seq``: the interval's end if it has ended, else its start or the row's newest content change.
    "visibility": """CREATE TABLE IF NOT EXISTS visibility (
        territory INTEGER NOT NULL,
        object INTEGER NOT NULL,
        row_key BIGINT NOT NULL,
        from_seq BIGINT NOT NULL,
        to_seq BIGINT NOT NULL,
        touched_seq BIGINT NOT NULL,
        PRIMARY KEY (territory, object, row_key, from_seq)) WITHOUT ROWID""",
    "head": """CREATE TABLE IF NOT EXISTS head (
        territory INTEGER NOT NULL,
        object INTEGER NOT NULL,
        seq BIGINT NOT NULL,
        rows BIGINT NOT NULL,
        digest BIGINT NOT NULL,
        PRIMARY KEY (territory, object, seq)) WITHOUT ROWID""",
    # Rows that the pipeline's guard holds, as of the newest publication; a store from before may lack the table.
    "held": """CREATE TABLE IF NOT EXISTS held (
        territory INTEGER NOT NULL,
        object INTEGER NOT NULL,
        rows BIGINT NOT NULL,
        since_us BIGINT NOT NULL,
        PRIMARY KEY (territory, object)) WITHOUT ROWID""",
}

# Apart from the tables, so that a full copy can build them after loading.
INDEXES = (
    "CREATE INDEX IF NOT EXISTS publication_time ON publication (published_at_us)",
    f"CREATE INDEX IF NOT EXISTS row_version_ended ON row_version (to_seq) WHERE to_seq < {OPEN_SEQ}",
    "CREATE INDEX IF NOT EXISTS visibility_touched ON visibility (territory, touched_seq)",
    "CREATE INDEX IF NOT EXISTS visibility_row ON visibility (row_key)",
)

INSERT_META = """INSERT INTO meta
    (only_row, schema_version, epoch, cursor_key, generation, published_seq, horizon_seq, body_horizon_seq, as_of_us)
    VALUES (1, :schema_version, :epoch, :cursor_key, :generation,
            :published_seq, :horizon_seq, :body_horizon_seq, :as_of_us)"""
INSERT_BODY = "INSERT INTO row_body (body_key, body) VALUES (?, ?)"
INSERT_HEAD = "INSERT INTO head (territory, object, seq, rows, digest) VALUES (?, ?, ?, ?, ?)"
DELETE_HELD = "DELETE FROM held WHERE territory = ? AND object = ?"
INSERT_HELD = "INSERT INTO held (territory, object, rows, since_us) VALUES (?, ?, ?, ?)"
INSERT_OBJECT = "INSERT INTO object (key, name) VALUES (?, ?)"


def signed(unsigned: int) -> int:
    """An unsigned 64-bit number as the signed one with the same bits."""
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned


def unsigned(signed_number: int) -> int:
    """The inverse of :func:`signed`."""
    return signed_number % 2**64
