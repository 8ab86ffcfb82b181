"""Work out some territories anew from the snapshots alone: no row is read from the CRM."""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.pipeline.warehouse import scalar, statement


def touch_territories(connection: duckdb.DuckDBPyConnection, territories: Collection[str]) -> int:
    """Note every row that is in one of the territories, or should be, for the next derivation; returns how many."""
    parameters = {"territories": list(territories), "open": OPEN_SEQ}
    sql = statement("touch_territories").replace("recompute_visibility", f"({statement('recompute_visibility')})")
    connection.execute(sql, parameters)
    return scalar(connection, "SELECT count(*) FROM touched")


def mend_heads(connection: duckdb.DuckDBPyConnection, territories: Collection[str]) -> int:
    """Count and add up the territories' rows anew; returns how many sizes or digests were wrong.

    Derivation only adds to them what changes, so a wrong one would stay. The caller holds the transaction; the delta
    store must be replaced if there were any.
    """
    parameters = {"territories": list(territories), "open": OPEN_SEQ}
    sql = statement("wrong_heads").replace("recompute_heads", f"({statement('recompute_heads')})")
    connection.execute(sql, parameters)
    wrong = scalar(connection, "SELECT count(*) FROM wrong_head")
    if wrong:
        connection.execute(
            "DELETE FROM territory_head WHERE to_seq = ? AND (territory, object) IN"
            " (SELECT (territory, object) FROM wrong_head)",
            [OPEN_SEQ],
        )
        connection.execute(
            "INSERT INTO territory_head SELECT territory, object, from_seq, ?, rows, digest FROM wrong_head", [OPEN_SEQ]
        )
    return wrong
