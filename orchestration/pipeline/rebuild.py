"""Read whole territories again, for the day after a re-alignment: works where the CRM wrote no events at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog, CatalogObject, VisibilityPath
from orchestration.crm.client import CrmClient
from orchestration.crm.queries import Query
from orchestration.pipeline.alignment_file import Touched, accounts_by_territory, aligned_object
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.ingest import OpenWarehouse
from orchestration.pipeline.requests import ReadRequest, children_requests, store_requests
from orchestration.pipeline.schema import PRESENT, link_table, quoted, snapshot_table
from orchestration.pipeline.warehouse import statement, transaction, utc_now

REASON = "territory rebuild"


class UnknownTerritoryError(ValueError):
    """A territory was named that the warehouse does not know, or by a name that several bear."""


@dataclass(frozen=True)
class TerritoryResult:
    """What a publication did to one territory; counts of rows."""

    territory: str
    name: str | None
    inserted: int
    updated: int
    deleted: int
    rows: int


def resolve_territories(connection: duckdb.DuckDBPyConnection, names: Sequence[str], parent: str | None) -> list[str]:
    """Ids of territories given by id or unique name, and of all directly below a parent. Raises for unknown ones."""
    known = connection.execute("SELECT territory, name, parent FROM territory").fetchall()

    def resolve(given: str) -> str:
        found = [row_id for row_id, name, _ in known if given in (row_id, name)]
        if len(found) != 1:
            reason = "is not known" if not found else f"names {len(found)} territories: give the id"
            raise UnknownTerritoryError(f"territory {given} {reason}")
        return str(found[0])

    ids = [resolve(given) for given in names]
    if parent is not None:
        above = resolve(parent)
        ids += [row_id for row_id, _, parent_id in known if parent_id == above]
    return list(dict.fromkeys(ids))


def out_of_step(open_warehouse: OpenWarehouse, crm: CrmClient, catalog: Catalog) -> Touched:
    """Ask the CRM for the territory of every account: those that we know elsewhere, and both their territories.

    Costs an operation for each hundred accounts. A territory that an account is in and that we do not know is left to
    the next census. Raises ``AlignmentFileError`` for a catalog without a territory field.
    """
    root, field = aligned_object(catalog)
    told = {row.id: row.values[field] for page in crm.read(Query(object=root, fields=(field,))) for row in page.rows}
    with open_warehouse() as connection:
        known = accounts_by_territory(connection, catalog)
        names = {str(row[0]) for row in connection.execute("SELECT territory FROM territory").fetchall()}
    moved = [account for account in told.keys() | known.keys() if told.get(account) != known.get(account)]
    ends = {end for account in moved for end in (told.get(account), known.get(account))}
    return Touched(tuple(sorted(moved)), tuple(sorted(str(end) for end in ends if end in names)))


def reread_territories(
    open_warehouse: OpenWarehouse,
    crm: CrmClient,
    catalog: Catalog,
    territories: Collection[str],
    accounts: Collection[str] = (),
    *,
    hold_moves: bool = False,
) -> None:
    """Read what the CRM says is in these territories, what we say is there, and all that hangs on either.

    ``accounts`` are read too, with what hangs on them, wherever they are.
    """
    with open_warehouse() as connection, transaction(connection):
        store_requests(connection, _rows_believed_there(connection, territories), utc_now())
        if accounts:
            root, _ = aligned_object(catalog)
            store_requests(connection, (ReadRequest.row(root.name, row_id, REASON) for row_id in accounts), utc_now())
            store_requests(
                connection,
                (r for row_id in accounts for r in children_requests(catalog, root.name, row_id, REASON)),
                utc_now(),
            )
        store_requests(
            connection,
            (
                _rows_said_to_be_there(obj, path, territory)
                for obj in catalog.served
                for path in obj.visibility
                if path.through is None
                for territory in territories
            ),
            utc_now(),
        )
    for obj in catalog.served:
        hydrate(open_warehouse, crm, catalog, obj, hold_moves=hold_moves)
        with open_warehouse() as connection, transaction(connection):
            # Of rows that are there now, ask for children by field: some may hang there unknown to us.
            for path in obj.visibility:
                if path.through is None and catalog.children_of(obj.name):
                    parents = _rows_now_there(connection, obj, path, territories)
                    store_requests(
                        connection,
                        (r for parent in parents for r in children_requests(catalog, obj.name, parent, REASON)),
                        utc_now(),
                    )
    hydrate_remaining(open_warehouse, crm, catalog, hold_moves=hold_moves)


def results(
    connection: duckdb.DuckDBPyConnection, seq: int | None, territories: Collection[str]
) -> list[TerritoryResult]:
    """What publication ``seq`` (``None``: there was none) did to each of the territories."""
    parameters = {"seq": seq or 0, "open": OPEN_SEQ, "territories": list(territories)}
    return [TerritoryResult(*row) for row in connection.execute(statement("territory_results"), parameters).fetchall()]


def _rows_believed_there(connection: duckdb.DuckDBPyConnection, territories: Collection[str]) -> list[ReadRequest]:
    rows = connection.execute(
        "SELECT DISTINCT object, row_id FROM visibility"
        " WHERE to_seq = $open AND territory IN (SELECT unnest($territories::VARCHAR[]))",
        {"open": OPEN_SEQ, "territories": list(territories)},
    ).fetchall()
    return [ReadRequest.row(obj, row_id, REASON) for obj, row_id in rows]


def _rows_said_to_be_there(obj: CatalogObject, path: VisibilityPath, territory: str) -> ReadRequest:
    """A child list cannot be searched for, but the CRM answers for one book."""
    if path.territory_field:
        return ReadRequest(obj.name, "field", path.territory_field, territory, REASON)
    return ReadRequest(obj.name, "book", "", territory, REASON)


def _rows_now_there(
    connection: duckdb.DuckDBPyConnection, obj: CatalogObject, path: VisibilityPath, territories: Collection[str]
) -> list[str]:
    rows = f"FROM {snapshot_table(obj).name} WHERE {PRESENT}"
    there = "IN (SELECT unnest($territories::VARCHAR[]))"
    parameters: dict[str, object] = {"territories": list(territories)}
    if path.territory_field:
        sql = f"SELECT row_id {rows} AND {quoted(path.territory_field)} {there}"
    else:
        assert path.book_membership is not None
        parameters["list"] = path.book_membership.list
        links = f"SELECT row_id FROM {link_table(obj).name} WHERE live AND list = $list AND parent_id {there}"
        sql = f"SELECT row_id {rows} AND row_id IN ({links})"
    return [str(row[0]) for row in connection.execute(sql, parameters).fetchall()]
