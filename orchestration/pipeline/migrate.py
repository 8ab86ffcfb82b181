"""A warehouse follows its catalog: objects and fields that come, change or go are a migration of what is stored.

The catalog as it was is kept in the warehouse, so each difference is known. A field of another type is read anew from
the payloads as the CRM gave them; a row whose payload is no longer kept is read from the CRM again. An object that is
gone leaves every territory with the next publication.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import duckdb
import orjson
import pyarrow as pa
from pydantic import ValidationError

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog, CatalogObject, FieldType
from orchestration.crm.values import CONVERTERS
from orchestration.pipeline.attached import another_connection
from orchestration.pipeline.readings import newest_reading
from orchestration.pipeline.schema import DOUBTFUL, PRESENT, VANISHED, Table, link_table, quoted, snapshot_table

ROWS_PER_FETCH = 10_000
BESIDE = "snapshot._migrated"
"""No catalog object has such a name."""


def follow_catalog(connection: duckdb.DuckDBPyConnection, catalog: Catalog, now: datetime, *, loaded: bool) -> None:
    """Bring snapshots to the catalog's shape; ask for what must be read and touch what must be published again.

    ``loaded``: whether rows were ever read. ``now`` is UTC without zone. The caller holds the transaction, and has made
    the tables that were not there.
    """
    known = {
        str(name).removeprefix("object:"): str(definition)
        for name, definition in connection.execute(
            "SELECT name, value FROM state WHERE starts_with(name, 'object:')"
        ).fetchall()
    }
    served = {obj.name for obj in catalog.served}
    for name in known.keys() - served:
        # Out of the catalog, or a dimension now; one that always was has nothing published.
        if connection.execute("SELECT 1 FROM row_version WHERE object = ? LIMIT 1", [name]).fetchall():
            _touch_published(connection, name)
    for name in known.keys() - {obj.name for obj in catalog}:
        _retire(connection, name)
    for obj in catalog:
        definition = obj.model_dump_json()
        # A column that did not follow the catalog, under an earlier version of this program, does so now.
        if known.get(obj.name) != definition or _drifted(connection, obj):
            _follow(connection, obj, _parsed(known.get(obj.name)), now, loaded=loaded)
            _remember(connection, f"object:{obj.name}", definition)
    for name in served:
        connection.execute("DELETE FROM state WHERE name = ?", [f"retired:{name}"])


def _touch_published(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute(
        "INSERT INTO touched SELECT DISTINCT object, row_id FROM row_version WHERE object = ? AND to_seq = ?",
        [name, OPEN_SEQ],
    )
    # Devices are told of its rows' end as long as they may have a cursor from before it.
    _remember(connection, f"retired:{name}", "")


def retired_objects(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Objects that are served no more, but have a history that devices may hold rows of."""
    rows = connection.execute("SELECT name FROM state WHERE starts_with(name, 'retired:') ORDER BY name").fetchall()
    return tuple(str(name).removeprefix("retired:") for (name,) in rows)


def forget_retired(connection: duckdb.DuckDBPyConnection) -> None:
    """Those whose history is beyond the horizon."""
    for name in retired_objects(connection):
        held = "SELECT 1 FROM {} WHERE object = $name"
        sql = f"SELECT EXISTS ({held.format('row_version')}) OR EXISTS ({held.format('visibility')})"
        if connection.execute(sql, {"name": name}).fetchall() == [(False,)]:
            connection.execute("DELETE FROM territory_head WHERE object = ?", [name])
            connection.execute("DELETE FROM state WHERE name = ?", [f"retired:{name}"])


def leave_territories(connection: duckdb.DuckDBPyConnection, objects: Iterable[str]) -> None:
    """Note in temp table ``membership`` that the touched rows of objects that are served no more leave, at level -1."""
    connection.execute(
        "INSERT INTO membership SELECT -1, object, territory, row_id, visibility.rowid, 'delete' FROM visibility"
        " SEMI JOIN changed USING (object, row_id)"
        " WHERE to_seq = $open AND object IN (SELECT unnest($objects::VARCHAR[]))",
        {"open": OPEN_SEQ, "objects": list(objects)},
    )


def _retire(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Forget all but what was published; should it come back, it is read whole like any new object."""
    for table in (quoted(name), quoted(f"{name}_link")):
        connection.execute(f"DROP TABLE IF EXISTS snapshot.{table}")
        connection.execute(f"DROP TABLE IF EXISTS {DOUBTFUL}.{table}")
    for table in ("read_requests", "kept_content", "doubtful_reading"):
        connection.execute(f"DELETE FROM {table} WHERE object = ?", [name])
    connection.execute("DELETE FROM state WHERE name = ?", [f"object:{name}"])


def _follow(
    connection: duckdb.DuckDBPyConnection, obj: CatalogObject, was: CatalogObject | None, now: datetime, *, loaded: bool
) -> None:
    table = snapshot_table(obj)
    have = _columns(connection, table)
    wanted = {column.name: column.type for column in table.columns}
    old_types = was.fields if was else {}
    new = [name for name in obj.fields if name not in have or (was is not None and name not in old_types)]
    retyped = [
        name
        for name, kind in obj.fields.items()
        if name not in new and (have[name] != wanted[name] or old_types.get(name, kind) != kind)
    ]
    if retyped or have.keys() - wanted.keys() or have.keys() & set(new):
        unread = _rebuild(connection, obj, retyped, have.keys() - set(new), now)
        if loaded:
            _request(connection, obj, unread, "a field's type changed, and its text is no longer kept", now)
    else:
        add_missing_columns(connection, table)
    if obj.links:
        add_missing_columns(connection, link_table(obj))
    if not loaded:
        return
    connection.execute(f"INSERT INTO touched SELECT '{obj.name}', row_id FROM {table.name}")
    if was is None or new or (was.service, was.links) != (obj.service, obj.links):
        connection.execute("DELETE FROM read_requests WHERE object = ? AND kind = 'all'", [obj.name])
        connection.execute(
            "INSERT INTO read_requests"
            " (object, kind, field, value, reason, requested_at, reading, position, missed, unanswered)"
            " VALUES (?, 'all', '', '', 'the catalog changed', ?, ?, 0, 0, false)",
            [obj.name, now, newest_reading(connection)],
        )


def _drifted(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> bool:
    """Whether a column is of another type than the catalog's."""
    table = snapshot_table(obj)
    have = _columns(connection, table)
    return any(have.get(column.name, column.type) != column.type for column in table.columns)


def _rebuild(
    connection: duckdb.DuckDBPyConnection,
    obj: CatalogObject,
    retyped: Sequence[str],
    kept: set[str],
    now: datetime,
) -> list[str]:
    """Make the snapshot anew: ``kept`` columns as they are, ``retyped`` ones from payloads, all others blank.

    Returns rows to be read from the CRM: those without a payload, and those that cannot be understood.
    """
    table = snapshot_table(obj)
    beside = replace(table, name=BESIDE, looked_up_by=())
    connection.execute(f"DROP TABLE IF EXISTS {BESIDE}")
    connection.execute(beside.ddl)
    _convert(connection, obj, retyped)
    connection.execute(
        "INSERT INTO quarantine (object, row_id, field, reason, seen_at, reading)"
        " SELECT $object, row_id, field, reason, $now, $reading FROM defective",
        {"object": obj.name, "now": now, "reading": newest_reading(connection)},
    )
    _keep_published(connection, obj.name, "SELECT row_id FROM defective")
    unread = f"""SELECT row_id FROM {table.name} WHERE {bool(retyped)} AND {PRESENT}
          AND row_id NOT IN (SELECT row_id FROM converted)
        UNION SELECT row_id FROM kept_content WHERE object = '{obj.name}'"""

    def source(column: str) -> str:
        if column in retyped:
            kind = next(one.type for one in table.columns if one.name == column)
            return f"converted.{quoted(column)}::{kind}"
        if column == "_content":
            # Whatever is read of such a row is news.
            return f"CASE WHEN old.row_id NOT IN ({unread}) THEN old._content END"
        return f"old.{quoted(column)}" if column in kept else "NULL"

    connection.execute(
        f"INSERT INTO {BESIDE} SELECT {', '.join(source(name) for name in table.column_names)}"
        f" FROM {table.name} AS old LEFT JOIN converted USING (row_id)"
    )
    rows = [str(row[0]) for row in connection.execute(unread).fetchall()]
    rows += _forget_set_aside(connection, obj)
    plain = table.name.partition(".")[2]
    connection.execute(f"DROP TABLE {table.name}")
    connection.execute(f"ALTER TABLE {BESIDE} RENAME TO {plain}")
    for temporary in ("converted", "defective"):
        connection.execute(f"DROP TABLE {temporary}")
    return rows


def _forget_set_aside(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> list[str]:
    """Readings that the guard set aside have the old shape: returns their rows, which are to be read again.

    What they keep stays meanwhile, and the guard weighs the new readings like any others.
    """
    if obj.dimension:
        return []
    where = f"object = '{obj.name}' AND evidence <> '{VANISHED}'"
    found = connection.execute(f"DELETE FROM doubtful_reading WHERE {where} RETURNING row_id").fetchall()
    rows = [str(row_id) for (row_id,) in found]
    connection.execute(
        f"UPDATE {BESIDE} SET _state = 'live', _content = NULL WHERE _state = 'held'"
        " AND row_id IN (SELECT unnest($rows::VARCHAR[]))",
        {"rows": rows},
    )
    for table in [snapshot_table(obj, DOUBTFUL), *([link_table(obj, DOUBTFUL)] if obj.links else [])]:
        connection.execute(f"DROP TABLE IF EXISTS {table.name}")
        connection.execute(table.ddl)
    return rows


def _convert(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, fields: Sequence[str]) -> None:
    """Temp tables: ``converted``, the fields of each row with a payload, as text; ``defective``, rows in which one
    cannot be understood.
    """
    columns = ", ".join(["row_id VARCHAR", *(f"{quoted(name)} VARCHAR" for name in fields)])
    connection.execute(f"CREATE OR REPLACE TEMP TABLE converted ({columns})")
    connection.execute("CREATE OR REPLACE TEMP TABLE defective (row_id VARCHAR, field VARCHAR, reason VARCHAR)")
    if not fields:
        return
    for payloads in _newest_payloads(connection, obj):
        values: list[list[str | None]] = []
        defects: list[tuple[str, str, str]] = []
        for row_id, payload in payloads:
            raw = orjson.loads(payload)[0]
            row: list[str | None] = [row_id]
            for name in fields:
                try:
                    row.append(_as_stored(raw.get(name), obj.fields[name]))
                except ValueError as error:
                    defects.append((row_id, name, str(error)))
                    row.append(None)
            values.append(row)
        _insert(connection, "converted", values)
        _insert(connection, "defective", defects)


def _newest_payloads(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> Iterator[list[tuple[str, str]]]:
    with another_connection(connection) as cursor:
        # Not what this transaction has changed.
        cursor.execute(
            "SELECT row_id, arg_max(payload, read_at) FROM raw_payloads WHERE object = ? GROUP BY row_id", [obj.name]
        )
        while rows := cursor.fetchmany(ROWS_PER_FETCH):
            yield rows


def _as_stored(text: str | None, kind: FieldType) -> str | None:
    """Wire text as text that the column's type can be made of. Raises ValueError."""
    if not text:
        return None
    if kind is FieldType.STRING:
        return text
    value = CONVERTERS[kind](text.strip()) if text.strip() else None
    return value.replace(tzinfo=None).isoformat() if isinstance(value, datetime) else _text(value)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[str | None]]) -> None:
    if rows:
        columns = zip(*rows, strict=True)
        connection.register("staged", pa.table({f"c{n}": pa.array(one, pa.string()) for n, one in enumerate(columns)}))
        connection.execute(f"INSERT INTO {table} FROM staged")
        connection.unregister("staged")


def _keep_published(connection: duckdb.DuckDBPyConnection, name: str, rows: str) -> None:
    """Note that these rows stay as they were published: their last good text, or nothing."""
    connection.execute(
        "INSERT INTO kept_content SELECT $object, row_id, body"
        f" FROM (({rows}) EXCEPT SELECT row_id FROM kept_content WHERE object = $object) AS aside"
        " LEFT JOIN (SELECT row_id, body FROM row_version JOIN row_body USING (object, row_id, from_seq)"
        "   WHERE object = $object AND to_seq = $open) AS published USING (row_id)",
        {"object": name, "open": OPEN_SEQ},
    )


def keep_last_good(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """Put into temp table ``content`` the last good text of rows whose present one cannot be told, or is no JSON.

    The latter are put into quarantine, and whatever is read of them next is news.
    """
    invalid = connection.execute("SELECT object, row_id FROM content WHERE NOT json_valid(body)").fetchall()
    for name, row_id in invalid:
        reason = "not fit to be served as JSON"
        connection.execute(
            "INSERT INTO quarantine (object, row_id, field, reason, seen_at, reading) VALUES (?, ?, '*', ?, ?, ?)",
            [name, row_id, reason, now, newest_reading(connection)],
        )
        _keep_published(connection, name, f"SELECT '{str(row_id).replace(chr(39), chr(39) * 2)}' AS row_id")
        connection.execute(f"UPDATE snapshot.{quoted(name)} SET _content = NULL WHERE row_id = ?", [row_id])
    if not connection.execute("SELECT 1 FROM kept_content LIMIT 1").fetchall():
        return
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE kept AS FROM kept_content SEMI JOIN content USING (object, row_id)"
    )
    connection.execute("DELETE FROM content WHERE (object, row_id) IN (SELECT (object, row_id) FROM kept)")
    connection.execute(
        "INSERT INTO content SELECT object, row_id, body, substr(sha256(body), 1, 16) AS found,"
        " ('0x' || found)::UBIGINT FROM kept WHERE body IS NOT NULL"
    )


def _request(
    connection: duckdb.DuckDBPyConnection, obj: CatalogObject, row_ids: Sequence[str], reason: str, now: datetime
) -> None:
    connection.execute(
        "INSERT INTO read_requests"
        " (object, kind, field, value, reason, requested_at, reading, position, missed, unanswered)"
        " SELECT $object, 'id', '', row_id, $reason, $now, $reading, 0, 0, false"
        " FROM (SELECT unnest($ids::VARCHAR[]) AS row_id)"
        " WHERE row_id NOT IN (SELECT value FROM read_requests WHERE object = $object AND kind = 'id')",
        {
            "object": obj.name,
            "reason": reason,
            "now": now,
            "reading": newest_reading(connection),
            "ids": list(row_ids),
        },
    )


def _columns(connection: duckdb.DuckDBPyConnection, table: Table) -> dict[str, str]:
    described = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table.name})").fetchall()
    return dict(described)


def add_missing_columns(connection: duckdb.DuckDBPyConnection, table: Table, *, fields: bool = True) -> None:
    """All NULL; without ``fields``, only those of this program's own, which begin with an underscore.

    The table is there, as an earlier version or another catalog made it.
    """
    have = _columns(connection, table)
    for column in table.columns:
        if column.name not in have and (fields or column.name.startswith("_")):
            connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {quoted(column.name)} {column.type}")


def _remember(connection: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    connection.execute("DELETE FROM state WHERE name = ?", [name])
    connection.execute("INSERT INTO state VALUES (?, ?)", [name, value])


def _parsed(definition: str | None) -> CatalogObject | None:
    """An object as the catalog had it; None where there was none, or another version of this program wrote it."""
    try:
        return None if definition is None else CatalogObject.model_validate_json(definition)
    except ValidationError:
        return None
