"""Warehouses of earlier versions: what a publication that was held then becomes now."""

from __future__ import annotations

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.schema import BLANKED, DOUBTFUL, VANISHED, quoted, snapshot_table


def set_aside_held_publication(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Set aside the doubtful readings of a publication that was held whole, so that it does not pass unseen.

    The guard used to stop a publication after its rows had gone into the snapshots. The caller holds the transaction.
    """
    exists = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'main' AND table_name = 'held_publication'"
    if not connection.execute(exists).fetchall()[0][0]:
        return
    waiting = "SELECT count(*) FROM held_publication WHERE released_at IS NULL"
    if connection.execute(waiting).fetchall()[0][0]:
        for obj in catalog.served:
            _set_aside(connection, obj)
    connection.execute(
        "INSERT INTO guard_decision (decided_at, decision, territory, rows, reason)"
        " SELECT released_at, 'release', nullif(territory, '*'), deletes, released_because"
        " FROM held_publication WHERE released_at IS NOT NULL"
    )
    connection.execute("DROP TABLE held_publication")


def _set_aside(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> None:
    snapshot = snapshot_table(obj)
    served = (
        f"row_id IN (SELECT row_id FROM touched WHERE object = '{obj.name}')"
        f" AND row_id IN (SELECT row_id FROM visibility WHERE object = '{obj.name}' AND to_seq = {OPEN_SEQ})"
    )
    note = "INSERT INTO doubtful_reading (object, row_id, evidence, read_at, weighed)"
    connection.execute(
        f"{note} SELECT '{obj.name}', row_id, '{VANISHED}', _read_at, false"
        f" FROM {snapshot.name} WHERE _state = 'lost' AND {served}"
    )
    connection.execute(f"UPDATE {snapshot.name} SET _state = 'live' WHERE _state = 'lost' AND {served}")
    fields = obj.way_fields
    if not fields:
        return
    # Where they were is in the text that devices have.
    was = ", ".join(f"body.body ->> '$.{obj.members[field]}' AS {quoted(field)}" for field in fields)
    blanked = " OR ".join(f"(now.{quoted(field)} IS NULL AND was.{quoted(field)} IS NOT NULL)" for field in fields)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE blanked AS SELECT was.* FROM (FROM {snapshot.name} WHERE _state = 'live') AS now"
        f" JOIN (SELECT version.row_id, {was} FROM row_version AS version"
        " JOIN row_body AS body USING (object, row_id, from_seq)"
        f" WHERE version.object = '{obj.name}' AND version.to_seq = {OPEN_SEQ}) AS was USING (row_id)"
        f" WHERE {served} AND ({blanked})"
    )
    names = ", ".join(map(quoted, snapshot.column_names))
    connection.execute(
        f"INSERT INTO {snapshot_table(obj, DOUBTFUL).name} ({names})"
        f" SELECT {names} FROM {snapshot.name} WHERE row_id IN (SELECT row_id FROM blanked)"
    )
    connection.execute(f"{note} SELECT '{obj.name}', row_id, '{BLANKED}', NULL, false FROM blanked")
    kept = ", ".join(f"{quoted(field)} = coalesce(row.{quoted(field)}, blanked.{quoted(field)})" for field in fields)
    # Without its hash, the row is compared anew when it is read again.
    connection.execute(
        f"UPDATE {snapshot.name} AS row SET {kept}, _content = NULL FROM blanked WHERE row.row_id = blanked.row_id"
    )
