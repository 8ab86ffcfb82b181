"""Rows written directly to a warehouse's snapshots, as a hydration leaves them, and the view published from them."""

from __future__ import annotations

import json
from datetime import datetime

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import load_catalog
from orchestration.pipeline.guard import Guard

CATALOG = load_catalog()
NO_GUARD = Guard(max_share=1.0, min_rows=10**6)
NOW = datetime(2026, 11, 24, 6, 0, 0)  # noqa: DTZ001 - the warehouse stores UTC without zone


def put(
    connection: duckdb.DuckDBPyConnection, obj: str, row_id: str, state: str = "live", /, **fields: str | None
) -> None:
    connection.execute(f'DELETE FROM snapshot."{obj}" WHERE row_id = ?', [row_id])
    names = ", ".join(f'"{name}"' for name in fields)
    marks = ", ".join("?" for _ in fields)
    connection.execute(
        f'INSERT INTO snapshot."{obj}" (row_id, _state{", " + names if names else ""})'
        f" VALUES (?, ?{', ' + marks if marks else ''})",
        [row_id, state, *fields.values()],
    )
    connection.execute("INSERT INTO touched VALUES (?, ?)", [obj, row_id])


def link(connection: duckdb.DuckDBPyConnection, contact: str, accounts: set[str]) -> None:
    connection.execute("DELETE FROM snapshot.contact_link WHERE row_id = ?", [contact])
    for account in accounts:
        connection.execute("INSERT INTO snapshot.contact_link VALUES (?, 'ListOfAccount', ?, true)", [contact, account])
    connection.execute("INSERT INTO touched VALUES ('contact', ?)", [contact])


def published_view(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str, str], dict[str, object]]:
    rows = connection.execute(
        "SELECT territory, object, row_id, body FROM visibility JOIN row_version AS v USING (object, row_id)"
        " JOIN row_body AS b ON (b.object, b.row_id, b.from_seq) = (object, row_id, v.from_seq)"
        " WHERE visibility.to_seq = $open AND v.to_seq = $open",
        {"open": OPEN_SEQ},
    ).fetchall()
    return {(t, o, r): json.loads(body) for t, o, r, body in rows}
