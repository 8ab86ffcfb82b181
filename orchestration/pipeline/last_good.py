"""Rows that can be understood in part: what cannot be read keeps its last good value, everything else is news."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import duckdb

from orchestration.catalog import CatalogObject
from orchestration.crm.rows import Row
from orchestration.pipeline.schema import link_table, quoted, snapshot_table


def with_last_good(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, rows: Iterable[Row]) -> list[Row]:
    """The rows, with what the snapshot has where a field or a child list was unreadable; nothing for an unknown row."""
    return [_completed(connection, obj, row) if row.unreadable else row for row in rows]


def _completed(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, row: Row) -> Row:
    lists = row.unreadable & row.links.keys()
    fields = sorted(row.unreadable - lists)
    values = dict(row.values)
    if fields:
        names = ", ".join(map(quoted, fields))
        sql = f"SELECT {names} FROM {snapshot_table(obj).name} WHERE row_id = ?"
        for known in connection.execute(sql, [row.id]).fetchall():
            values |= {name: _with_zone(value) for name, value in zip(fields, known, strict=True)}
    links = dict(row.links)
    for name in lists:
        sql = f"SELECT parent_id FROM {link_table(obj).name} WHERE row_id = ? AND (list, live) = (?, true) ORDER BY 1"
        links[name] = tuple(str(parent) for (parent,) in connection.execute(sql, [row.id, name]).fetchall())
    return replace(row, values=values, links=links)


def _with_zone(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
