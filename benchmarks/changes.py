"""The changes that scenarios make to a warehouse's snapshots, as a hydration leaves them."""

from __future__ import annotations

import duckdb

from orchestration.pipeline.schema import quoted

CHANGED_ROWS = 200
TEXTS = {"contact": "JobTitle", "order": "OrderNumber"}


def move_a_tenth(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """A tenth of the accounts, another one for each number, goes to the next territory, children with them."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE next_territory AS"
        " SELECT row_id, coalesce(lead(row_id) OVER by_id, min(row_id) OVER ()) AS target"
        " FROM snapshot.territory WINDOW by_id AS (ORDER BY row_id)"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE moving AS"
        f" SELECT account.* REPLACE (target AS TerritoryId) FROM snapshot.account"
        f" JOIN next_territory AS next ON next.row_id = TerritoryId WHERE hash(account.row_id, {number}) % 10 = 0"
    )
    _replace(connection, "account", "moving")


def change_some(connection: duckdb.DuckDBPyConnection, number: int, obj: str = "contact") -> None:
    """200 scattered rows of an object get another text."""
    field = TEXTS[obj]
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE changing AS"
        f" SELECT * REPLACE ('text {number}' AS {field}) FROM snapshot.{quoted(obj)} WHERE row_id IN"
        f" (SELECT row_id FROM snapshot.{quoted(obj)} ORDER BY hash(row_id, {number}) LIMIT {CHANGED_ROWS})"
    )
    _replace(connection, obj, "changing")


def _replace(connection: duckdb.DuckDBPyConnection, obj: str, rows: str) -> None:
    connection.execute("BEGIN TRANSACTION")
    connection.execute(f"DELETE FROM snapshot.{quoted(obj)} WHERE row_id IN (SELECT row_id FROM {rows})")
    connection.execute(f"INSERT INTO snapshot.{quoted(obj)} FROM {rows}")
    connection.execute(f"INSERT INTO touched SELECT '{obj}', row_id FROM {rows}")
    connection.execute("COMMIT")
