"""Small tables for people, as Markdown, without personal data."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from orchestration.pipeline.rebuild import TerritoryResult

TERRITORIES_SHOWN = 20


def touched_territories(connection: duckdb.DuckDBPyConnection, seq: int) -> str:
    """Rows in and out for each territory that a publication touched, the most touched first."""
    rows = connection.execute(
        "SELECT coalesce(name, territory), count(*) FILTER (operation = 'insert'),"
        " count(*) FILTER (operation = 'update'), count(*) FILTER (operation = 'delete')"
        " FROM territory_delta LEFT JOIN territory USING (territory)"
        " WHERE seq = ? GROUP BY ALL ORDER BY count(*) DESC, 1",
        [seq],
    ).fetchall()
    return _table("territory|insert|update|delete", rows, TERRITORIES_SHOWN)


def territory_results(rebuilt: Sequence[TerritoryResult], operations: int) -> str:
    """Rows in, changed and out for each rebuilt territory, and what reading all of them cost."""
    rows = [(r.name or r.territory, r.inserted, r.updated, r.deleted, r.rows) for r in rebuilt]
    sums = (sum(r.inserted for r in rebuilt), sum(r.updated for r in rebuilt), sum(r.deleted for r in rebuilt))
    total = f"{len(rows)} territories: {sums[0]} rows in, {sums[1]} changed, {sums[2]} out; {operations} operations."
    return "\n\n".join([total, _table("territory|in|changed|out|rows now", rows, len(rows))])


def _table(header: str, rows: Sequence[tuple[object, ...]], limit: int) -> str:
    if not rows:
        return ""
    columns = header.split("|")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(value) for value in row)} |" for row in rows[:limit]]
    if len(rows) > limit:
        lines.append(f"\n… and {len(rows) - limit} more")
    return "\n".join(lines)
