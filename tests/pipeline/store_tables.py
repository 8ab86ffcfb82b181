"""The delta store's tables with the warehouse's ids, to compare the two."""

from __future__ import annotations

from pathlib import Path

import apsw
import duckdb

STORE_INTERVALS = """
    SELECT t.id, o.name, r.row_id, v.from_seq, v.to_seq FROM visibility AS v
    JOIN territory AS t ON t.key = v.territory JOIN object AS o ON o.key = v.object
    JOIN row AS r ON r.key = v.row_key"""
STORE_VERSIONS = """
    SELECT o.name, r.row_id, v.from_seq, v.to_seq, CAST(b.body AS TEXT) FROM row_version AS v
    JOIN row AS r ON r.key = v.row_key JOIN object AS o ON o.key = r.object
    LEFT JOIN row_body AS b ON b.body_key = v.body_key"""
STORE_HEADS = """
    SELECT t.id, o.name, h.seq, h.rows, h.digest FROM head AS h
    JOIN territory AS t ON t.key = h.territory JOIN object AS o ON o.key = h.object"""


def store_equals(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    store = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    signed = [(*row[:4], row[4] - 2**64 if row[4] >= 2**63 else row[4]) for row in connection.execute(
        "SELECT territory, object, from_seq, rows, digest FROM territory_head").fetchall()]  # fmt: skip
    pairs = [
        (STORE_INTERVALS, connection.execute("FROM visibility").fetchall()),
        (
            STORE_VERSIONS,
            connection.execute(
                "SELECT object, row_id, from_seq, to_seq, body FROM row_version"
                " LEFT JOIN row_body USING (object, row_id, from_seq)"
            ).fetchall(),
        ),
        (STORE_HEADS, signed),
    ]
    return all(sorted(store.execute(sql)) == sorted(rows) for sql, rows in pairs)
