"""How the warehouse is called within DuckDB, which runs without a database of its own."""

from __future__ import annotations

import duckdb

ATTACHED_AS = "warehouse"


def another_connection(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """One more to the open warehouse, for a long result that is read while the first goes on."""
    made = connection.cursor()
    # A cursor does not inherit which database names mean.
    made.execute(f"USE {ATTACHED_AS}")
    return made
