"""Small tables for people, as Markdown, without personal data."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from orchestration.pipeline.markdown import table_lines
from orchestration.pipeline.rebuild import TerritoryResult

TERRITORIES_SHOWN = 20


def touched_territories(connection: duckdb.DuckDBPyConnection, seq: int) -> list[tuple[str, str, int, int, int]]:
    """Id, name, and rows in, changed and out for each territory that a publication touched, the most touched first."""
    return connection.execute(
        "SELECT territory, coalesce(name, territory), count(*) FILTER (operation = 'insert'),"
        " count(*) FILTER (operation = 'update'), count(*) FILTER (operation = 'delete')"
        " FROM territory_delta LEFT JOIN territory USING (territory)"
        " WHERE seq = ? GROUP BY ALL ORDER BY count(*) DESC, 2",
        [seq],
    ).fetchall()


def touched_report(connection: duckdb.DuckDBPyConnection, seq: int) -> str:
    """The same as a table, the first of them only."""
    rows = [row[1:] for row in touched_territories(connection, seq)]
    lines = table_lines("territory|insert|update|delete", rows[:TERRITORIES_SHOWN])
    if len(rows) > TERRITORIES_SHOWN:
        lines.append(f"\n… and {len(rows) - TERRITORIES_SHOWN} more")
    return "\n".join(lines)


def territory_results(rebuilt: Sequence[TerritoryResult], operations: int) -> str:
    """Rows in, changed and out for each rebuilt territory, and what reading all of them cost."""
    rows = [(r.name or r.territory, r.inserted, r.updated, r.deleted, r.rows) for r in rebuilt]
    sums = (sum(r.inserted for r in rebuilt), sum(r.updated for r in rebuilt), sum(r.deleted for r in rebuilt))
    total = f"{len(rows)} territories: {sums[0]} rows in, {sums[1]} changed, {sums[2]} out; {operations} operations."
    table = table_lines("territory|in|changed|out|rows now", rows) if rows else []
    return "\n".join([total, "", *table])
