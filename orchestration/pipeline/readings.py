"""The numbers that order readings, and those of warehouses of earlier versions, in which the host's clock did that."""

from __future__ import annotations

import duckdb

from orchestration.catalog import Catalog
from orchestration.pipeline.schema import (
    DELETED_ITEMS,
    MODIFICATION_RECORDS,
    QUARANTINE,
    READ_REQUESTS,
    SCHEMAS,
    snapshot_table,
)


def newest_reading(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the reading that began last; 0 before the first."""
    found = connection.execute("SELECT value FROM state WHERE name = 'reading'").fetchall()
    return int(found[0][0]) if found else 0


def number_old_readings(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> int:
    """Number the readings that have a time only; returns the highest number, beyond which new ones go on."""
    timed = [(table.name, "reading", "read_at") for table in (MODIFICATION_RECORDS, DELETED_ITEMS)]
    timed.append((READ_REQUESTS.name, "reading", "requested_at"))
    timed.append((QUARANTINE.name, "reading", "seen_at"))
    for obj in catalog:
        for schema in ("snapshot",) if obj.dimension else SCHEMAS:
            timed.append((snapshot_table(obj, schema).name, "_reading", "_read_at"))
    newest = 0
    for table, number, time in timed:
        connection.execute(f"UPDATE {table} SET {number} = epoch_us({time}) WHERE {time} IS NOT NULL")
        found = connection.execute(f"SELECT coalesce(max({number}), 0) FROM {table}").fetchall()
        newest = max(newest, int(found[0][0]))
    return newest
