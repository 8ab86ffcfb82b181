"""Loads a delta store's newest views into the reference's tables. ``python reference_load.py delta.sqlite``."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys

import asyncpg

TABLES = """
    CREATE TABLE record (object text, row_id text, body json NOT NULL, PRIMARY KEY (object, row_id));
    CREATE TABLE territory_row (territory text, object text, row_id text, inserted_seq bigint NOT NULL,
        changed_seq bigint NOT NULL, deleted boolean NOT NULL, PRIMARY KEY (territory, object, row_id))"""
INDEX = "CREATE INDEX ON territory_row (territory, changed_seq)"
RECORDS = """SELECT object.name, row_id, CAST(body AS TEXT)
    FROM row_version JOIN row_body USING (body_key) JOIN row ON row.key = row_key JOIN object ON object.key = row.object
    WHERE to_seq = (SELECT max(to_seq) FROM row_version)"""
VIEWS = """SELECT territory.id, object.name, row_id, from_seq, touched_seq, false
    FROM visibility JOIN territory ON territory.key = territory JOIN row ON row.key = row_key
    JOIN object ON object.key = row.object
    WHERE to_seq = (SELECT max(to_seq) FROM visibility)"""


async def main(path: str) -> None:
    store = sqlite3.connect(path)
    database = await asyncpg.connect(os.environ["REFERENCE_DATABASE"])
    await database.execute(TABLES)
    await database.copy_records_to_table("record", records=store.execute(RECORDS))
    views = ((*row[:5], bool(row[5])) for row in store.execute(VIEWS))
    await database.copy_records_to_table("territory_row", records=views)
    await database.execute(INDEX)
    await database.execute("VACUUM ANALYZE")
    await database.close()


asyncio.run(main(sys.argv[1]))
