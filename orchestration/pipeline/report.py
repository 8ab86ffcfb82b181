"""Small tables for people, as Markdown, without personal data."""

from __future__ import annotations

import duckdb

TERRITORIES_SHOWN = 20
PUBLICATIONS_SHOWN = 12


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


def recent_publications(connection: duckdb.DuckDBPyConnection) -> str:
    """The last publications, newest first, with a bar for their size."""
    rows = connection.execute(
        "SELECT seq, strftime(published_at, '%m-%d %H:%M:%S'), territories, inserted, updated, deleted,"
        " repeat('█', least(20, ceil(ln(1 + inserted + updated + deleted) * 2)::INT)) FROM publication"
        " ORDER BY seq DESC LIMIT ?",
        [PUBLICATIONS_SHOWN],
    ).fetchall()
    return _table("seq|published (UTC)|territories|insert|update|delete|size", rows, PUBLICATIONS_SHOWN)


def _table(header: str, rows: list[tuple[object, ...]], limit: int) -> str:
    if not rows:
        return ""
    columns = header.split("|")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(value) for value in row)} |" for row in rows[:limit]]
    if len(rows) > limit:
        lines.append(f"\n… and {len(rows) - limit} more")
    return "\n".join(lines)
