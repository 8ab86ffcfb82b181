"""What a reading proves about where a row went; readings that prove nothing are set aside, for the guard to decide.

A reading is proven when it was read whole and names where the row is now: another known territory or parent, or a list
that holds other known ones and lacks none that is out of sight. A blank field, an empty list, a name that nobody knows,
or no row at all is what a lost access or a broken answer looks like too.

Where a list only lacks some parents, the loss of those links alone is in doubt: the snapshot takes the reading and
keeps these links, and the reading as it was is set aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import duckdb

from orchestration.catalog import TERRITORY, CatalogObject
from orchestration.pipeline.schema import (
    DOUBTFUL,
    PRESENT,
    UNKNOWN_TARGET,
    UNLINKED,
    VANISHED,
    link_table,
    quoted,
    snapshot_table,
)
from orchestration.pipeline.warehouse import scalar, statement


def set_aside_doubtful(
    connection: duckdb.DuckDBPyConnection, obj: CatalogObject, read_at: datetime, reading: int, *, hold_moves: bool
) -> list[tuple[str, str]]:
    """Take doubtful readings out of temp tables ``differing`` and ``fresh_links``; forget those that resolved.

    ``fresh`` holds all rows that were read, ``known`` what the snapshot has of them. Returns rows (object, id) to be
    read because of it: parents that lists lack, and rows whose lists lacked what has come back.
    """
    _find_doubtful(connection, obj, hold_moves)
    asked: list[tuple[str, str]] = []
    if _resolve(connection, obj, "fresh ANTI JOIN doubtful USING (row_id)"):
        asked += connection.execute(
            "SELECT object, row_id FROM doubtful_reading WHERE evidence = ?", [UNLINKED]
        ).fetchall()
    if not scalar(connection, "SELECT count(*) FROM doubtful"):
        return asked
    fields = snapshot_table(obj, DOUBTFUL)
    # What is set aside already, and was read once more, stays as it is.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE set_aside AS SELECT row_id, evidence FROM doubtful"
        f" ANTI JOIN (SELECT row_id, evidence, _content FROM {fields.name} JOIN doubtful_reading USING (row_id)"
        " WHERE object = $object) AS already USING (row_id, evidence, _content)",
        {"object": obj.name},
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE left_out AS SELECT row_id FROM doubtful"
        f" ANTI JOIN (FROM set_aside WHERE evidence = '{UNLINKED}') AS taken USING (row_id)"
    )
    connection.execute(
        "INSERT INTO raw_payloads SELECT $object, row_id, $read_at, _payload FROM differing"
        " SEMI JOIN set_aside USING (row_id) SEMI JOIN left_out USING (row_id)",
        {"object": obj.name, "read_at": read_at},
    )
    _forget_content(connection, obj, "set_aside")
    names = ", ".join(name for name in map(quoted, fields.column_names) if name not in {'"_state"', '"_merged_into"'})
    read = names.replace('"_read_at"', "$read_at").replace('"_reading"', "$reading")
    connection.execute(
        f"INSERT INTO {fields.name} ({names}) SELECT {read} FROM differing SEMI JOIN set_aside USING (row_id)",
        {"read_at": read_at, "reading": reading},
    )
    if obj.links:
        connection.execute(
            f"INSERT INTO {link_table(obj, DOUBTFUL).name} SELECT row_id, list, parent_id, true FROM fresh_links"
            " SEMI JOIN set_aside USING (row_id)"
        )
        connection.execute("DELETE FROM fresh_links WHERE row_id IN (SELECT row_id FROM left_out)")
        connection.execute(
            "INSERT INTO fresh_links SELECT row_id, list, parent_id FROM gone_link SEMI JOIN set_aside USING (row_id)"
            " ANTI JOIN left_out USING (row_id)"
        )
    _note(connection, obj, read_at)
    connection.execute("DELETE FROM differing WHERE row_id IN (SELECT row_id FROM left_out)")
    # With links that no reading had, the row differs from each: it is compared anew whenever it is read.
    connection.execute("UPDATE differing SET _content = NULL WHERE row_id IN (SELECT row_id FROM set_aside)")
    gone = "SELECT DISTINCT object, parent_id FROM gone_link JOIN set_aside USING (row_id) WHERE evidence = ?"
    return asked + connection.execute(gone, [UNLINKED]).fetchall()


def set_aside_vanished(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, read_at: datetime) -> None:
    """Note the rows of temp table ``vanished (row_id)``, which were asked for and did not come."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE set_aside AS SELECT row_id, '{VANISHED}' AS evidence FROM vanished"
        " WHERE ($object, row_id, evidence) NOT IN (SELECT (object, row_id, evidence) FROM doubtful_reading)",
        {"object": obj.name},
    )
    _forget_content(connection, obj, "set_aside")
    _note(connection, obj, read_at)


def resolve_deleted(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> None:
    """Forget what was set aside about the rows of temp table ``gone``, whose delete is proven now."""
    _resolve(connection, obj, "gone")


def accept(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> None:
    """Put what was set aside about this object's rows in temp table ``accepted (object, row_id)`` into the snapshot."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE accepting AS SELECT row_id, evidence, read_at FROM accepted"
        " JOIN doubtful_reading USING (object, row_id) WHERE object = $object",
        {"object": obj.name},
    )
    snapshot, reading = snapshot_table(obj), snapshot_table(obj, DOUBTFUL)
    connection.execute(
        f"UPDATE {snapshot.name} SET _state = 'lost', _merged_into = NULL"
        f" WHERE row_id IN (SELECT row_id FROM accepting WHERE evidence = '{VANISHED}')"
    )
    read = f"row_id IN (SELECT row_id FROM accepting WHERE evidence <> '{VANISHED}')"
    connection.execute(f"DELETE FROM {snapshot.name} WHERE {read}")
    names = ", ".join(map(quoted, snapshot.column_names))
    values = names.replace('"_state"', "'live'")
    connection.execute(f"INSERT INTO {snapshot.name} ({names}) SELECT {values} FROM {reading.name} WHERE {read}")
    if obj.links:
        links, read_links = link_table(obj).name, link_table(obj, DOUBTFUL).name
        now = f"(row_id, list, parent_id) IN (SELECT (row_id, list, parent_id) FROM {read_links})"
        connection.execute(f"UPDATE {links} SET live = false WHERE {read} AND live AND NOT {now}")
        connection.execute(f"UPDATE {links} SET live = true WHERE {read} AND NOT live AND {now}")
        connection.execute(
            f"INSERT INTO {links} SELECT row_id, list, parent_id, true FROM {read_links} WHERE {read}"
            f" AND (row_id, list, parent_id) NOT IN (SELECT (row_id, list, parent_id) FROM {links} WHERE {read})"
        )
    _forget_content(connection, obj, "accepting")
    _forget(connection, obj, "accepting")
    connection.execute("INSERT INTO touched SELECT $object, row_id FROM accepting", {"object": obj.name})


def now_proven(obj: CatalogObject) -> str:
    """SQL: rows whose set-aside reading is proven by what was read since.

    Either it named something unknown, and names nothing unknown by now; or its list lacks parents, and all of those
    are there, or are known to be gone.
    """
    fields, links = snapshot_table(obj, DOUBTFUL).name, link_table(obj, DOUBTFUL).name
    unknown = []
    for path in obj.visibility:
        link = path.link or path.book_membership
        places = f"SELECT row_id FROM snapshot.{quoted(path.through or TERRITORY)}"
        if link:
            none = f"HAVING NOT bool_or(parent_id IN ({places} WHERE {PRESENT}))"
            unknown.append(f"SELECT row_id FROM {links} WHERE list = '{link.list}' GROUP BY row_id {none}")
        else:
            field = quoted(path.territory_field or path.field or "")
            known = f"{field} IN ({places} WHERE {PRESENT})"
            unknown.append(f"SELECT row_id FROM {fields} WHERE {field} IS NOT NULL AND NOT {known}")
    unproven = {UNKNOWN_TARGET: " UNION ALL ".join(unknown)}
    if obj.links:
        unproven[UNLINKED] = f"SELECT row_id FROM ({_lacking_links(obj)}) WHERE out_of_sight"
    return " UNION ALL ".join(
        f"SELECT object, row_id FROM doubtful_reading WHERE (object, evidence) = ('{obj.name}', '{evidence}')"
        f" AND row_id NOT IN ({rows})"
        for evidence, rows in unproven.items()
    )


def drop_proven_links(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> None:
    """Drop kept links to what was read since and is there, or is known to be gone: the list lacks them rightly."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE dropped AS"
        f" SELECT row_id, place FROM ({_lacking_links(obj)}) WHERE NOT out_of_sight"
    )
    connection.execute(f"UPDATE {link_table(obj).name} SET live = false WHERE rowid IN (SELECT place FROM dropped)")
    connection.execute("INSERT INTO touched SELECT DISTINCT $object, row_id FROM dropped", {"object": obj.name})


def _lacking_links(obj: CatalogObject) -> str:
    """SQL: links that the snapshot keeps although a list lacks them: row_id, place, and whether the parent is out of
    sight itself, so that it would be missing from the list in any case.
    """
    links = []
    for path in obj.visibility:
        if link := path.link or path.book_membership:
            unseen = f"SELECT row_id FROM doubtful_reading WHERE (object, evidence) = ('{path.through}', '{VANISHED}')"
            if not path.through:
                unseen = f"SELECT row_id FROM snapshot.{quoted(TERRITORY)} WHERE _state = 'lost'"
            links.append(
                f"SELECT row_id, rowid AS place, parent_id IN ({unseen}) AS out_of_sight FROM {link_table(obj).name}"
                f" WHERE live AND list = '{link.list}' AND row_id IN (SELECT row_id FROM doubtful_reading"
                f" WHERE (object, evidence) = ('{obj.name}', '{UNLINKED}')) AND (row_id, list, parent_id)"
                f" NOT IN (SELECT (row_id, list, parent_id) FROM {link_table(obj, DOUBTFUL).name})"
            )
    return " UNION ALL ".join(links)


def _find_doubtful(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, hold_moves: bool) -> None:
    """Temp table ``doubtful (row_id, evidence, _content)``."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE lost_way (row_id VARCHAR, way INTEGER, object VARCHAR, target VARCHAR)"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE gone_link"
        " (row_id VARCHAR, way INTEGER, object VARCHAR, list VARCHAR, parent_id VARCHAR)"
    )
    for gone in _gone_links(obj):
        connection.execute(f"INSERT INTO gone_link {gone}")
    for way in _lost_ways(obj):
        connection.execute(f"INSERT INTO lost_way {way}")
    if not scalar(connection, "SELECT count(*) FROM lost_way"):
        connection.execute("CREATE OR REPLACE TEMP TABLE doubtful (row_id VARCHAR, evidence VARCHAR, _content UBIGINT)")
        return
    connection.execute("CREATE OR REPLACE TEMP TABLE known_target (object VARCHAR, target VARCHAR)")
    for place in dict.fromkeys(path.through or TERRITORY for path in obj.visibility):
        connection.execute(
            f"INSERT INTO known_target SELECT '{place}', row_id FROM snapshot.{quoted(place)}"
            f" WHERE row_id IN (SELECT target FROM lost_way WHERE object = '{place}')"
            f" AND (row_id, {PRESENT}) = (row_id, true)"
        )
    connection.execute(statement("find_doubtful"), {"hold_moves": hold_moves, "territory": TERRITORY})


def _gone_links(obj: CatalogObject) -> Iterator[str]:
    """Of rows in ``differing``: links that the reading no longer has, to what had not gone before."""
    for way, path in enumerate(obj.visibility):
        link, to = path.link or path.book_membership, path.through or TERRITORY
        if link:
            there = f"(row_id, {PRESENT}) = (row_id, true)" if path.through else "_state <> 'deleted'"
            yield (
                f"SELECT row_id, {way}, '{to}', list, parent_id"
                " FROM known_link SEMI JOIN differing USING (row_id)"
                " SEMI JOIN (FROM known WHERE present) AS served USING (row_id)"
                " ANTI JOIN fresh_links USING (row_id, list, parent_id)"
                f" WHERE live AND list = '{link.list}' AND parent_id NOT IN (SELECT row_id FROM snapshot.{quoted(to)}"
                f" WHERE row_id IN (SELECT parent_id FROM known_link) AND NOT ({there}))"
            )


def _lost_ways(obj: CatalogObject) -> Iterator[str]:
    """Of rows in ``differing``: each way to a territory or parent that is gone, with what the reading names instead."""
    for way, path in enumerate(obj.visibility):
        to = path.through or TERRITORY
        link = path.link or path.book_membership
        if link:
            yield (
                f"SELECT gone.row_id, {way}, '{to}', named.parent_id"
                f" FROM (SELECT DISTINCT row_id FROM gone_link WHERE way = {way}) AS gone"
                f" LEFT JOIN (FROM fresh_links WHERE list = '{link.list}') AS named USING (row_id)"
            )
        else:
            field = path.territory_field or path.field or ""
            was, now = quoted(f"was_{field}"), f"differing.{quoted(field)}"
            yield (
                f"SELECT row_id, {way}, '{to}', {now} FROM differing JOIN known USING (row_id)"
                f" WHERE present AND {was} IS NOT NULL AND {now} IS DISTINCT FROM {was}"
            )


def _note(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, read_at: datetime) -> None:
    """Enter temp table ``set_aside (row_id, evidence)``; a row that is held already keeps the time since when."""
    parameters = {"object": obj.name, "read_at": read_at}
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE noted AS"
        " SELECT $object AS object, row_id, set_aside.evidence, $read_at::TIMESTAMP AS read_at, already.held_since,"
        " false AS weighed FROM set_aside"
        " LEFT JOIN (FROM doubtful_reading WHERE object = $object) AS already USING (row_id)",
        parameters,
    )
    _forget(connection, obj, "noted")
    connection.execute("INSERT INTO doubtful_reading BY NAME FROM noted")


def _resolve(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, rows: str) -> bool:
    """Forget what was set aside about some rows, because a reading that proves something has come since."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE resolved AS SELECT DISTINCT row_id FROM {rows}"
        " SEMI JOIN (FROM doubtful_reading WHERE object = $object) AS aside USING (row_id)",
        {"object": obj.name},
    )
    if not scalar(connection, "SELECT count(*) FROM resolved"):
        return False
    connection.execute(
        f"UPDATE {snapshot_table(obj).name} SET _state = 'live'"
        " WHERE row_id IN (SELECT row_id FROM resolved) AND _state = 'held'"
    )
    _forget_content(connection, obj, "resolved")
    _forget(connection, obj, "resolved")
    return True


def _forget_content(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, rows: str) -> None:
    for table in (snapshot_table, link_table) if obj.links else (snapshot_table,):
        connection.execute(f"DELETE FROM {table(obj, DOUBTFUL).name} WHERE row_id IN (SELECT row_id FROM {rows})")


def _forget(connection: duckdb.DuckDBPyConnection, obj: CatalogObject, rows: str) -> None:
    connection.execute(
        f"DELETE FROM doubtful_reading WHERE object = $object AND row_id IN (SELECT row_id FROM {rows})",
        {"object": obj.name},
    )
