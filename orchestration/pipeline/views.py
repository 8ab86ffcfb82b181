"""The catalog compiled to SQL: the views that tell the fixed statements in ``sql/`` what a customer's objects are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestration.catalog import TERRITORY, Catalog, CatalogObject, FieldType, Link
from orchestration.pipeline.schema import link_table, quoted, snapshot_table

TERRITORY_EDGE = "object, row_id, territory"
PARENT_EDGE = "object, row_id, parent_object, parent_id"


def compile_views(catalog: Catalog) -> dict[str, str]:
    """``CREATE OR REPLACE VIEW`` statements by view name."""
    served = catalog.served
    return {
        "row_content": _view("row_content", "object, row_id, body", _each(served, _content)),
        "row_state": _view("row_state", "object, row_id, state, merged_into", _each(catalog, _state)),
        "territory_edge": _view("territory_edge", TERRITORY_EDGE, _each(served, _territory_edges)),
        "parent_edge": _view("parent_edge", PARENT_EDGE, _each(served, _parent_edges)),
        "territory": _view("territory", "territory, name, parent", list(_territories(catalog[TERRITORY]))),
        "mention": _view("mention", "object, row_id, field, target_id", _each(served, _mentions)),
    }


def compile_local_edges(obj: CatalogObject) -> Iterable[str]:
    """Statements for temp views ``local_territory_edge`` and ``local_parent_edge``: edges of rows in ``affected`` only.

    They look at no other row, which a join with the whole views would; ``standing`` holds the live ones of the rows.
    """
    fields = dict.fromkeys(field for path in obj.visibility if (field := path.territory_field or path.field))
    columns = ", ".join(["row_id", *map(quoted, fields)])
    yield (
        f"CREATE OR REPLACE TEMP TABLE standing AS SELECT {columns} FROM {snapshot_table(obj).name}"
        " WHERE _state = 'live' AND row_id IN (SELECT row_id FROM affected)"
    )
    yield _view("local_territory_edge", TERRITORY_EDGE, list(_territory_edges(obj, "standing")), temporary=True)
    yield _view("local_parent_edge", PARENT_EDGE, list(_parent_edges(obj, "standing")), temporary=True)


def body_expression(obj: CatalogObject) -> str:
    """SQL for the JSON object of a row, exactly as devices get it.

    Written out member by member, since the text is what versions are made of: member order, number digits and the
    form of times must never depend on a library's taste.
    """
    parts = [f"'{{\"{obj.id_member}\":', to_json(row_id)::VARCHAR"]
    for field, kind in obj.fields.items():
        value = f"coalesce({_json_text(quoted(field), kind)}, 'null')"
        parts.append(f"',\"{obj.members[field]}\":', {value}")
    return f"concat({', '.join(parts)}, '}}')"


def _json_text(column: str, kind: FieldType) -> str:
    match kind:
        case FieldType.STRING:
            return f"to_json({column})::VARCHAR"
        case FieldType.DATE:
            return f"'\"' || {column}::VARCHAR || '\"'"
        case FieldType.DATE_TIME:
            # The cast writes fractions only where there are any, like the source.
            return f"'\"' || replace({column}::VARCHAR, ' ', 'T') || 'Z\"'"
        case _:
            return f"{column}::VARCHAR"


def _content(obj: CatalogObject) -> Iterable[str]:
    yield f"SELECT '{obj.name}', row_id, {body_expression(obj)} FROM {snapshot_table(obj).name} WHERE _state = 'live'"


def _state(obj: CatalogObject) -> Iterable[str]:
    yield f"SELECT '{obj.name}', row_id, _state, _merged_into FROM {snapshot_table(obj).name}"


def _territory_edges(obj: CatalogObject, live: str | None = None) -> Iterable[str]:
    """``live`` names the relation of live rows to look at; all of them by default."""
    live = live or _live(obj)
    for path in obj.visibility:
        if path.territory_field:
            column = quoted(path.territory_field)
            yield f"SELECT '{obj.name}', row_id, {column} FROM {live} WHERE {column} IS NOT NULL"
        elif path.book_membership:
            yield f"SELECT '{obj.name}', row_id, parent_id {_links(obj, path.book_membership, live)}"


def _parent_edges(obj: CatalogObject, live: str | None = None) -> Iterable[str]:
    live = live or _live(obj)
    for path in obj.visibility:
        if path.through and path.field:
            column = quoted(path.field)
            yield f"SELECT '{obj.name}', row_id, '{path.through}', {column} FROM {live} WHERE {column} IS NOT NULL"
        elif path.through and path.link:
            yield f"SELECT '{obj.name}', row_id, '{path.through}', parent_id {_links(obj, path.link, live)}"


def _live(obj: CatalogObject) -> str:
    return f"(FROM {snapshot_table(obj).name} WHERE _state = 'live')"


def _links(obj: CatalogObject, link: Link, live: str) -> str:
    return (
        f"FROM {link_table(obj).name} AS link SEMI JOIN {live} AS live USING (row_id)"
        f" WHERE link.live AND link.list = '{link.list}'"
    )


def _territories(obj: CatalogObject) -> Iterable[str]:
    name, parent = (quoted(field) if field else "NULL" for field in (obj.name_field, obj.parent_field))
    yield f"SELECT row_id, {name}, {parent} FROM {snapshot_table(obj).name} WHERE _state = 'live'"


def _mentions(obj: CatalogObject) -> Iterable[str]:
    """Everything in a row that may name another row: id fields and links, of tombstones and former links too."""
    for field, kind in obj.fields.items():
        if kind is FieldType.STRING and field.endswith("Id"):
            column = quoted(field)
            yield (
                f"SELECT '{obj.name}', row_id, '{field}', {column} FROM {snapshot_table(obj).name}"
                f" WHERE {column} IS NOT NULL"
            )
    if obj.links:
        yield f"SELECT '{obj.name}', row_id, list, parent_id FROM {link_table(obj).name}"


def _each(objects: Iterable[CatalogObject], branches: Callable[[CatalogObject], Iterable[str]]) -> list[str]:
    return [branch for obj in objects for branch in branches(obj)]


def _view(name: str, columns: str, branches: list[str], *, temporary: bool = False) -> str:
    if not branches:
        nulls = ", ".join("NULL::VARCHAR" for _ in columns.split(","))
        branches = [f"SELECT {nulls} WHERE false"]
    kind = "TEMP VIEW" if temporary else "VIEW"
    return f"CREATE OR REPLACE {kind} {name} ({columns}) AS\n" + "\nUNION ALL ".join(branches)
