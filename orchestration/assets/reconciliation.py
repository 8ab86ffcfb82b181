"""Territories rebuilt by hand: the partition picker for a few, the job ``realign_territories`` for any number."""

from collections.abc import Collection

import dagster as dg
from pydantic import Field

from orchestration.assets.checks import require_sound
from orchestration.assets.policy import CODE_VERSION, OWNERS, WRITER_POOL
from orchestration.partitions import partition_key, territories, territory_id
from orchestration.pipeline.derive import derive, read_as_of
from orchestration.pipeline.rebuild import (
    TerritoryResult,
    UnknownTerritoryError,
    reread_territories,
    resolve_territories,
    results,
)
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.warehouse import utc_now
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource

REBUILD = "territory_rebuild"


@dg.asset(
    name=REBUILD,
    deps=["delta_store"],
    partitions_def=territories,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="reconciliation",
    kinds={"soap", "duckdb"},
    owners=OWNERS,
    pool=WRITER_POOL,
    code_version=CODE_VERSION,
)
def territory_rebuild(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    crm: CrmResource,
    delta_store_file: DeltaStoreResource,
) -> None:
    """Read the picked territories whole, both what the CRM says is there and what we say, and publish the difference.

    For more than a few that do not stand side by side, use the job realign_territories: it makes one run of them.
    """
    ids = [territory_id(key) for key in context.partition_keys]
    by_id = {one.territory: one for one in rebuild(warehouse, crm, delta_store_file, ids)}
    for key in context.partition_keys:
        context.add_asset_metadata(_metadata(by_id[territory_id(key)]), partition_key=key)


class Realignment(dg.Config):
    """Which territories: by id or name, or all directly below a parent (id or name); both add up."""

    territories: list[str] = Field(default_factory=list)
    parent: str = ""


@dg.op(pool=WRITER_POOL)
def rebuild_territories(
    context: dg.OpExecutionContext,
    config: Realignment,
    warehouse: WarehouseResource,
    crm: CrmResource,
    delta_store_file: DeltaStoreResource,
) -> None:
    """Read the chosen territories whole in one run and publish the difference as one publication."""
    try:
        with warehouse.open() as connection:
            ids = resolve_territories(connection, config.territories, config.parent or None)
    except UnknownTerritoryError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if not ids:
        raise dg.Failure("Name territories, or a parent territory, in the run config.", allow_retries=False)
    rebuilt = rebuild(warehouse, crm, delta_store_file, ids)
    for one in rebuilt:
        key = partition_key(one.territory, one.name)
        context.log_event(dg.AssetMaterialization(REBUILD, partition=key, metadata=_metadata(one)))
    lines = [f"| {r.name or r.territory} | {r.inserted} | {r.updated} | {r.deleted} | {r.rows} |" for r in rebuilt]
    report = "\n".join(["| territory | in | changed | out | rows now |", "|---|---:|---:|---:|---:|", *lines])
    context.add_output_metadata(
        {"report": dg.MetadataValue.md(report), "operations_spent": crm.client.operations_spent}
    )
    context.log.info("%d territories, %d operations\n%s", len(ids), crm.client.operations_spent, report)


@dg.job(description="After a re-alignment: read any number of territories whole, and publish the difference once.")
def realign_territories() -> None:
    rebuild_territories()


def rebuild(
    warehouse: WarehouseResource, crm: CrmResource, delta_store_file: DeltaStoreResource, ids: Collection[str]
) -> list[TerritoryResult]:
    """Re-read, derive, replicate; one publication whatever the number of territories."""
    reread_territories(warehouse.open, crm.client, warehouse.catalog, ids)
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        published = derive(
            connection, warehouse.catalog, as_of=read_as_of(connection), now=utc_now(), guard=warehouse.guard
        )
        require_sound(connection)
        replicate(connection, warehouse.catalog, writer)
        return results(connection, published.seq if published else None, ids)


def _metadata(result: TerritoryResult) -> dict[str, int]:
    return {
        "rows_inserted": result.inserted,
        "rows_updated": result.updated,
        "rows_deleted": result.deleted,
        "dagster/row_count": result.rows,
    }
