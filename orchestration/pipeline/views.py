"""The catalog compiled to SQL: the views that tell the fixed statements in ``sql/`` what a customer's objects are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestration.catalog import TERRITORY, Catalog, CatalogObject, FieldType
from orchestration.pipeline.schema import DOUBTFUL, PRESENT, link_table, quoted, snapshot_table

PEOPLE = {"Contact", "Lead", "User"}
"""Services whose rows are people."""
TERRITORY_EDGE = "object, row_id, territory"
PARENT_EDGE = "object, row_id, parent_object, parent_id, by_field"


def compile_views(catalog: Catalog) -> dict[str, str]:
    """``CREATE OR REPLACE VIEW`` statements by view name."""
    served = catalog.served
    everything, live, aside = (Edges.compile(served, of) for of in (_stored, _live, _set_aside))
    return {
        "row_content": _view("row_content", "object, row_id, body", _each(served, _content)),
        "row_state": _view("row_state", "object, row_id, state, merged_into, read_at, reading", _each(catalog, _state)),
        "territory_edge": f"CREATE OR REPLACE VIEW territory_edge AS {live.territory} WHERE territory IS NOT NULL",
        "parent_edge": f"CREATE OR REPLACE VIEW parent_edge AS {live.parent}",
        "any_territory_edge": f"CREATE OR REPLACE VIEW any_territory_edge AS {everything.territory}",
        "any_parent_edge": f"CREATE OR REPLACE VIEW any_parent_edge AS {everything.parent}",
        "territory": _view("territory", "territory, name, parent", list(_territories(catalog[TERRITORY]))),
        "doubtful_target": f"CREATE OR REPLACE VIEW doubtful_target AS SELECT object, row_id, territory AS target"
        f" FROM ({aside.territory}) UNION ALL SELECT object, row_id, parent_id FROM ({aside.parent})",
        "row_name": _view("row_name", "object, row_id, name", _each(served, _names)),
        "mention": _view("mention", "object, row_id, field, target_id", _each(served, _mentions)),
    }


def compile_affected(objects: Iterable[CatalogObject]) -> str:
    """Makes temp table ``affected``: rows in ``changed``, and rows that hang (or hung) on one in ``moved``."""
    rows = []
    for obj in objects:
        rows.append(f"SELECT object, row_id FROM changed WHERE object = '{obj.name}'")
        for path in obj.visibility:
            if path.through:
                table, column = (
                    (snapshot_table(obj), quoted(path.field)) if path.field else (link_table(obj), "parent_id")
                )
                moved = f"SELECT row_id FROM moved WHERE object = '{path.through}'"
                rows.append(f"SELECT '{obj.name}', row_id FROM {table.name} WHERE {column} IN ({moved})")
    return "CREATE OR REPLACE TEMP TABLE affected AS " + "\nUNION ".join(rows)


def compile_standing(objects: Iterable[CatalogObject]) -> Iterable[str]:
    """Temp tables with what snapshots have of the rows in ``affected``: see :func:`standing`."""
    for obj in objects:
        fields = dict.fromkeys(field for path in obj.visibility if (field := path.territory_field or path.field))
        columns = ", ".join(["row_id", "_state", *map(quoted, fields)])
        here = f"WHERE row_id IN (SELECT row_id FROM affected WHERE object = '{obj.name}')"
        rows, links = _gathered(obj)
        yield f"CREATE OR REPLACE TEMP TABLE {rows} AS SELECT {columns} FROM {snapshot_table(obj).name} {here}"
        if obj.links:
            yield f"CREATE OR REPLACE TEMP TABLE {links} AS FROM {link_table(obj).name} {here}"


def _gathered(obj: CatalogObject) -> tuple[str, str]:
    return f"standing_{obj.table}", f"standing_{obj.link_table}"


@dataclass(frozen=True)
class Relations:
    """Where the rows and the links of an object are to be found: SQL for each."""

    rows: str
    links: str


def _stored(obj: CatalogObject) -> Relations:
    """All of them, tombstones too: what a few rows say is found by index."""
    return Relations(snapshot_table(obj).name, link_table(obj).name)


def _live(obj: CatalogObject) -> Relations:
    return _of_live_rows(_stored(obj))


def _set_aside(obj: CatalogObject) -> Relations:
    """What doubtful readings say of their rows."""
    return Relations(snapshot_table(obj, DOUBTFUL).name, link_table(obj, DOUBTFUL).name)


def standing(obj: CatalogObject) -> Relations:
    """Live rows in the temp tables of :func:`compile_standing`."""
    return _of_live_rows(Relations(*_gathered(obj)))


def _of_live_rows(all_rows: Relations) -> Relations:
    rows = f"(FROM {all_rows.rows} WHERE {PRESENT})"
    return Relations(rows, f"(FROM {all_rows.links} SEMI JOIN {rows} AS live USING (row_id))")


@dataclass(frozen=True)
class Edges:
    """Queries: ``(object, row_id, territory)``, and ``(object, row_id, parent_object, parent_id, by_field)``; the last
    is false for a parent that a child list names.
    """

    territory: str
    parent: str

    @classmethod
    def compile(cls, objects: Iterable[CatalogObject], of: Callable[[CatalogObject], Relations]) -> Edges:
        to_territories, to_parents = [], []
        for obj in objects:
            relations = of(obj)
            for path in obj.visibility:
                link = path.link or path.book_membership
                column = "parent_id" if link else quoted(path.territory_field or path.field or "")
                source = (
                    f"(FROM {relations.links} WHERE (live, list) = (true, '{link.list}'))" if link else relations.rows
                )
                if path.through:
                    to_parents.append(
                        f"SELECT '{obj.name}', row_id, '{path.through}', {column}, {link is None} FROM {source}"
                    )
                else:
                    to_territories.append(f"SELECT '{obj.name}', row_id, {column} FROM {source}")
        return cls(_union(TERRITORY_EDGE, to_territories), _union(PARENT_EDGE, to_parents))


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
    live = f"(FROM {snapshot_table(obj).name} WHERE {PRESENT})"
    kept = f"(FROM kept_content WHERE object = '{obj.name}')"
    yield f"SELECT '{obj.name}', row_id, {body_expression(obj)} FROM {live} ANTI JOIN {kept} AS kept USING (row_id)"
    yield f"SELECT object, row_id, body FROM {kept} SEMI JOIN {live} AS live USING (row_id) WHERE body IS NOT NULL"


def _state(obj: CatalogObject) -> Iterable[str]:
    yield f"SELECT '{obj.name}', row_id, _state, _merged_into, _read_at, _reading FROM {snapshot_table(obj).name}"


def _territories(obj: CatalogObject) -> Iterable[str]:
    name, parent = (quoted(field) if field else "NULL" for field in (obj.name_field, obj.parent_field))
    yield f"SELECT row_id, {name}, {parent} FROM {snapshot_table(obj).name} WHERE {PRESENT}"


def _names(obj: CatalogObject) -> Iterable[str]:
    """Names that operators may see in Dagster: of accounts and the like, never of people."""
    name = f"{obj.service}Name"
    if name in obj.fields and obj.service not in PEOPLE:
        yield f"SELECT '{obj.name}', row_id, {quoted(name)} FROM {snapshot_table(obj).name}"


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


def _view(name: str, columns: str, branches: list[str]) -> str:
    return f"CREATE OR REPLACE VIEW {name} AS {_union(columns, branches)}"


def _union(columns: str, branches: list[str]) -> str:
    nothing = f"SELECT {', '.join('NULL::VARCHAR' for _ in columns.split(','))} WHERE false"
    return "FROM (" + "\nUNION ALL ".join(branches or [nothing]) + f") AS part ({columns})"
