"""Warehouses of earlier versions, in which the host's clock ordered readings: they get numbers in that order."""

from __future__ import annotations

import duckdb

from orchestration.catalog import Catalog
from orchestration.pipeline.schema import DELETED_ITEMS, MODIFICATION_RECORDS, READ_REQUESTS, SCHEMAS, snapshot_table


def number_old_readings(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> int:
    """Number the readings that have a time only; returns the highest number, beyond which new ones go on."""
    timed = [(table.name, "reading", "read_at") for table in (MODIFICATION_RECORDS, DELETED_ITEMS)]
    timed.append((READ_REQUESTS.name, "reading", "requested_at"))
    for obj in catalog:
        for schema in ("snapshot",) if obj.dimension else SCHEMAS:
            timed.append((snapshot_table(obj, schema).name, "_reading", "_read_at"))
    newest = 0
    for table, number, time in timed:
        connection.execute(f"UPDATE {table} SET {number} = epoch_us({time}) WHERE {time} IS NOT NULL")
        found = connection.execute(f"SELECT coalesce(max({number}), 0) FROM {table}").fetchall()
        newest = max(newest, int(found[0][0]))
    return newest
