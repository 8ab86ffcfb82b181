"""One snapshot asset for each object of the catalog: the newest state of its rows."""

from collections.abc import Iterator

import dagster as dg

from orchestration.advice import advised
from orchestration.assets import lineage
from orchestration.assets.modification_records import modification_records
from orchestration.assets.policy import CODE_VERSION, OWNERS, WRITER_POOL
from orchestration.assets.presentation import changed_rows, of_snapshot, quarantined_rows
from orchestration.catalog import TERRITORY, Catalog, CatalogObject
from orchestration.partitions import keep_in_step, partition_key
from orchestration.pipeline.hydrate import hydrate
from orchestration.pipeline.replicate import served_territories
from orchestration.resources.crm import CrmResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import asset_key


def snapshot_assets(catalog: Catalog) -> Iterator[dg.AssetsDefinition]:
    """Parents are read before their children, since what happened to a parent decides what to read of them."""
    for obj in catalog:
        yield _snapshot_asset(obj)


def _snapshot_asset(obj: CatalogObject) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(obj.name),
        description=f"The newest state of each {obj.service}, read by id as the events ask, or whole in a full load. "
        f"{lineage.reach(obj)}",
        deps=[modification_records, *map(asset_key, obj.parents)],
        group_name="snapshots",
        kinds={"soap", "duckdb"},
        owners=OWNERS,
        pool=WRITER_POOL,
        code_version=CODE_VERSION,
        metadata=lineage.snapshot(obj),
        tags={
            "source": "crm",
            "crm_events": "yes" if obj.tracked else "no",
            "served": "no" if obj.dimension else "yes",
        },
    )
    @advised
    def snapshot(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, crm: CrmResource
    ) -> dg.MaterializeResult[None]:
        before = crm.client.operations_spent
        result = hydrate(
            warehouse.open,
            crm.client,
            warehouse.catalog,
            warehouse.catalog[obj.name],
            hold_moves=warehouse.guard.holds_moves,
        )
        if result.no_access:
            context.log.warning("The integration user has no access to %s: it is left out", obj.service)
        if result.lost:
            context.log.warning(
                "%d %s rows are lost from sight: not returned, not known as deleted", result.lost, obj.name
            )
        if result.unanswered:
            context.log.warning(
                "%d reads of %s got no sound answer; the next run asks again", result.unanswered, obj.name
            )
        if result.quarantined:
            context.log.warning(
                "%d %s rows could not be understood; see quarantined_rows", result.quarantined, obj.name
            )
        if obj.name == TERRITORY:
            with warehouse.open() as connection:
                keys = [partition_key(row_id, name) for row_id, name in served_territories(connection)]
            keep_in_step(context.instance, keys)
        tables = {}
        if result.changed or result.deleted or result.lost or result.quarantined:
            with warehouse.open() as connection:
                tables["changed_rows"] = changed_rows(connection, obj)
                if result.quarantined:
                    tables["quarantined_rows"] = quarantined_rows(connection, obj)
        return dg.MaterializeResult(metadata=of_snapshot(result, crm.client.operations_spent - before, tables))

    return snapshot
