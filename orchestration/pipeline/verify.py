"""The incremental tables against a recompute from nothing, and against their own rules."""

from __future__ import annotations

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.pipeline.warehouse import scalar, statement

_VERSION = "('0x' || substr(sha256(body), 1, 16))::UBIGINT"


def differences(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows by which each published table differs from what the snapshots say; all zero when everything is right.

    Meaningful when nothing is waiting to be published.
    """
    visibility = f"SELECT territory, object, row_id FROM visibility WHERE to_seq = {OPEN_SEQ}"
    reach = statement("recompute_visibility")
    content = f"SELECT object, row_id, {_VERSION} FROM row_content"
    versions = f"SELECT object, row_id, version FROM row_version WHERE to_seq = {OPEN_SEQ}"
    heads = f"SELECT territory, object, rows, digest FROM territory_head WHERE to_seq = {OPEN_SEQ} AND rows > 0"
    recomputed_heads = statement("recompute_heads").replace("$open", str(OPEN_SEQ))
    stored_bodies = f"SELECT object, row_id, {_VERSION} FROM row_version JOIN row_body USING (object, row_id, from_seq)"
    return {
        "visibility missing": _excess(connection, reach, visibility),
        "visibility too much": _excess(connection, visibility, reach),
        "versions missing": _excess(connection, content, versions),
        "versions too much": _excess(connection, versions, content),
        "versions without their body": _excess(connection, versions, stored_bodies),
        "heads missing": _excess(connection, recomputed_heads, heads),
        "heads too much": _excess(connection, heads, recomputed_heads),
        "visibility overlapping": scalar(connection, statement("overlapping_visibility")),
    }


def _excess(connection: duckdb.DuckDBPyConnection, left: str, right: str) -> int:
    return scalar(connection, f"SELECT count(*) FROM (({left}) EXCEPT ({right}))")
