"""The changes that scenarios make to a warehouse's snapshots, as a hydration leaves them."""

from __future__ import annotations

import duckdb

CHANGED_ROWS = 200


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


def change_some(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """200 scattered contacts get another title."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE changing AS"
        f" SELECT * REPLACE ('title {number}' AS JobTitle) FROM snapshot.contact WHERE row_id IN"
        f" (SELECT row_id FROM snapshot.contact ORDER BY hash(row_id, {number}) LIMIT {CHANGED_ROWS})"
    )
    _replace(connection, "contact", "changing")


def _replace(connection: duckdb.DuckDBPyConnection, obj: str, rows: str) -> None:
    connection.execute("BEGIN TRANSACTION")
    connection.execute(f"DELETE FROM snapshot.{obj} WHERE row_id IN (SELECT row_id FROM {rows})")
    connection.execute(f"INSERT INTO snapshot.{obj} FROM {rows}")
    connection.execute(f"INSERT INTO touched SELECT '{obj}', row_id FROM {rows}")
    connection.execute("COMMIT")
