"""Where each column comes from, worked out from the object catalog.

The open-source Dagster UI draws no column lineage, so each column's description says it in words too. It is metadata of
the definition, not of each materialization: it changes with the catalog only, and costs no event its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from orchestration.assets.policy import table_metadata
from orchestration.catalog import Catalog, CatalogObject
from orchestration.pipeline.schema import ROW_VERSION, TERRITORY_DELTA, VISIBILITY, Table, snapshot_table
from orchestration.tenancy import asset_key

Source = tuple[str, str]
"""An asset's name and a column of its table."""
Sources = Mapping[str, Sequence[Source]]

SOURCES_SHOWN = 4


def described(table: Table, sources: Sources) -> dict[str, Any]:
    """Table name, column schema and column lineage, as asset metadata."""
    columns = [
        replace(column, description=f"{column.description} ← {_in_words(sources[column.name])}")
        if sources.get(column.name)
        else column
        for column in table.columns
    ]
    lineage = {
        name: [dg.TableColumnDep(asset_key(asset), column) for asset, column in origins]
        for name, origins in sources.items()
    }
    return {
        **table_metadata(replace(table, columns=tuple(columns))),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
    }


def snapshot(obj: CatalogObject) -> dict[str, Any]:
    """Of a snapshot: which rows are read comes from the event log, and from their parents; the values from the CRM."""
    rows: list[Source] = [("modification_records", "object_id")]
    rows += [(parent, "row_id") for parent in obj.parents]
    return described(snapshot_table(obj), {"row_id": rows})


def row_versions(catalog: Catalog) -> dict[str, Any]:
    """A version is a hash of every served field."""
    content = [(obj.name, field) for obj in catalog.served for field in obj.fields]
    row_ids = _row_ids(catalog)
    return described(ROW_VERSION, {"row_id": row_ids, "version": content, "digest": content})


def visibility(catalog: Catalog) -> dict[str, Any]:
    """A row belongs where its territory field, its books or its parents say."""
    return described(
        VISIBILITY,
        {
            "territory": [source for obj in catalog.served for source in _ways_to_territory(obj)],
            "row_id": _row_ids(catalog),
        },
    )


def territory_deltas() -> dict[str, Any]:
    """The difference of two publications."""
    sources: dict[str, list[Source]] = {name: [("visibility", name)] for name in ("territory", "object", "row_id")}
    sources["seq"] = [(asset, seq) for asset in ("visibility", "row_versions") for seq in ("from_seq", "to_seq")]
    sources["operation"] = [*sources["seq"], ("row_versions", "version")]
    return described(TERRITORY_DELTA, sources)


def reach(obj: CatalogObject) -> str:
    """How a row reaches a territory, for people."""
    ways = []
    for path in obj.visibility:
        if path.territory_field:
            ways.append(f"by its own {path.territory_field}")
        elif path.book_membership:
            ways.append(f"by its books ({path.book_membership.list})")
        elif path.field:
            ways.append(f"with its {path.through}, by {path.field}")
        elif path.link:
            ways.append(f"with each linked {path.through} ({path.link.list})")
    return f"A row reaches a territory {' or '.join(ways)}." if ways else "Not served to devices: names and structure."


def _ways_to_territory(obj: CatalogObject) -> Iterable[Source]:
    for path in obj.visibility:
        column = path.territory_field or path.field
        if column:
            yield obj.name, column
        else:
            yield obj.name, "row_id"  # through a list of the row


def _row_ids(catalog: Catalog) -> list[Source]:
    return [(obj.name, "row_id") for obj in catalog.served]


def _in_words(sources: Sequence[Source]) -> str:
    shown = ", ".join(f"{asset}.{column}" for asset, column in sources[:SOURCES_SHOWN])
    more = len(sources) - SOURCES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
