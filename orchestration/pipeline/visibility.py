"""Which territories rows are in: intervals closed and opened for whatever changed, and for all that hangs on it."""

from __future__ import annotations

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.migrate import leave_territories
from orchestration.pipeline.views import Edges, compile_affected, compile_standing, standing
from orchestration.pipeline.warehouse import MOST_ROWS_LOOKED_UP, scalar, statement


def derive_visibility(connection: duckdb.DuckDBPyConnection, catalog: Catalog, seq: int) -> None:
    """Close and open intervals for the rows of temp table ``changed`` and for all that hangs on them.

    Leaves temp table ``membership``: each row looked at in each territory, and whether it is an insert, delete or keep.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE membership"
        " (level INTEGER, object VARCHAR, territory VARCHAR, row_id VARCHAR, place BIGINT, operation VARCHAR)"
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE moved (object VARCHAR, row_id VARCHAR)")
    changed, moved = objects_in(connection, "changed"), set[str]()
    if retired := changed - {obj.name for obj in catalog.served}:
        leave_territories(connection, retired)
        connection.execute(statement("close_visibility"), {"level": -1, "seq": seq})
    for level, objects in _levels(catalog).items():
        concerned = [obj for obj in objects if obj.name in changed or not moved.isdisjoint(obj.parents)]
        affected = scalar(connection, compile_affected(concerned)) if concerned else 0
        if not affected:
            continue
        for gather in compile_standing(concerned):
            connection.execute(gather)
        edges = Edges.compile(concerned, standing)
        membership = (
            statement("membership")
            .replace("territory_edge", f"({edges.territory})")
            .replace("parent_edge", f"({edges.parent})")
        )
        at = {"level": level}
        connection.execute(membership, {**at, "open": OPEN_SEQ, "many": affected > MOST_ROWS_LOOKED_UP})
        if scalar(connection, statement("moved"), at):
            connection.execute(statement("close_visibility"), {**at, "seq": seq})
            connection.execute(statement("open_visibility"), {**at, "seq": seq, "open": OPEN_SEQ})
            moved = objects_in(connection, "moved")


def _levels(catalog: Catalog) -> dict[int, list[CatalogObject]]:
    """Objects by the length of their longest way up: the parents of each are on lower levels."""
    level: dict[str, int] = {}
    levels: dict[int, list[CatalogObject]] = {}
    for obj in catalog.served:
        level[obj.name] = 1 + max((level[parent] for parent in obj.parents), default=-1)
        levels.setdefault(level[obj.name], []).append(obj)
    return levels


def objects_in(connection: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    """The objects of the rows of a temp table."""
    return {str(row[0]) for row in connection.execute(f"SELECT DISTINCT object FROM {table}").fetchall()}
