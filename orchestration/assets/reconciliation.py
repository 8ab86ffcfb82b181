"""Territories rebuilt by hand: the partition picker for a few, the job ``realign_territories`` for any number."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
from pydantic import Field

from orchestration.advice import advised
from orchestration.assets.checks import publish_soundly
from orchestration.assets.policy import CODE_VERSION, OWNERS, WRITER_POOL
from orchestration.catalog import Catalog
from orchestration.partitions import partition_key, territories, territory_id
from orchestration.pipeline.alignment_file import AlignmentFileError, touched_by
from orchestration.pipeline.progress import Progress, WatchedWarehouse
from orchestration.pipeline.rebuild import (
    TerritoryResult,
    UnknownTerritoryError,
    out_of_step,
    reread_territories,
    resolve_territories,
    results,
)
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.report import territory_results
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import RUN_TAGS, asset_key

REBUILD = asset_key("territory_rebuild")
INLINE = "alignment"


@dg.asset(
    key=REBUILD,
    deps=[asset_key("delta_store")],
    partitions_def=territories,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="reconciliation",
    kinds={"soap", "duckdb"},
    owners=OWNERS,
    pool=WRITER_POOL,
    code_version=CODE_VERSION,
)
@advised
def territory_rebuild(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    crm: CrmResource,
    delta_store_file: DeltaStoreResource,
) -> None:
    """Read the picked territories whole, both what the CRM says is there and what we say, and publish the difference.

    For more than a few that do not stand side by side, use the job realign_territories: it makes one run of them.
    """
    chosen = Chosen([territory_id(key) for key in context.partition_keys])
    rebuilt = rebuild(context, warehouse, crm, delta_store_file, chosen, _teller(context, crm))
    by_id = {one.territory: one for one in rebuilt}
    for key in context.partition_keys:
        metadata = _metadata(by_id[territory_id(key)], crm.client.operations_spent)
        context.add_asset_metadata(metadata, partition_key=key)
    context.log.info("%s", territory_results(rebuilt, crm.client.operations_spent))


class Realignment(dg.Config):
    """Which territories; what is given adds up. With nothing given: all whose accounts moved in the CRM."""

    territories: list[str] = Field(default_factory=list, description="ids or names")
    parent: str = Field(default="", description="id or name: all territories directly below it")
    alignment_file: str = Field(default="", description="path of a CSV file (account, from, to): all that it touches")
    alignment: str = Field(default="", description="the text of such a file")


@dataclass(frozen=True)
class Chosen:
    """Territories and accounts to read whole, by id."""

    territories: Sequence[str]
    accounts: Sequence[str] = ()


@dg.op(pool=WRITER_POOL)
@advised
def rebuild_territories(
    context: dg.OpExecutionContext,
    config: Realignment,
    warehouse: WarehouseResource,
    crm: CrmResource,
    delta_store_file: DeltaStoreResource,
) -> None:
    """Read the chosen territories whole in one run and publish the difference as one publication."""
    try:
        if any((config.territories, config.parent, config.alignment_file, config.alignment)):
            with warehouse.open() as connection:
                chosen = choose(connection, warehouse.catalog, config)
        else:
            moved = out_of_step(warehouse.open, crm.client, warehouse.catalog)
            chosen = Chosen(moved.territories, moved.accounts)
            context.log.info("%d accounts are not where we have them in the CRM", len(chosen.accounts))
    except (UnknownTerritoryError, AlignmentFileError, OSError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    rebuilt = rebuild(context, warehouse, crm, delta_store_file, chosen, _teller(context, crm))
    spent = crm.client.operations_spent
    for one in rebuilt:
        key = partition_key(one.territory, one.name)
        context.log_event(dg.AssetMaterialization(REBUILD, partition=key, metadata=_metadata(one, spent)))
    report = territory_results(rebuilt, spent)
    context.add_output_metadata({"report": dg.MetadataValue.md(report), "operations_spent": spent})
    context.log.info("%d territories, %d operations\n%s", len(rebuilt), spent, report)


@dg.job(
    tags=RUN_TAGS,
    description="After a re-alignment: read chosen territories whole, or all whose accounts moved, and publish once.",
)
def realign_territories() -> None:
    rebuild_territories()


def choose(connection: duckdb.DuckDBPyConnection, catalog: Catalog, config: Realignment) -> Chosen:
    """Raises ``UnknownTerritoryError``, ``AlignmentFileError`` and ``OSError``."""
    ids = resolve_territories(connection, config.territories, config.parent or None)
    accounts: list[str] = []
    texts = [(config.alignment, INLINE)] if config.alignment else []
    if config.alignment_file:
        texts.append((Path(config.alignment_file).read_text(encoding="utf-8-sig"), config.alignment_file))
    for text, name in texts:
        touched = touched_by(connection, catalog, text, name)
        ids += touched.territories
        accounts += touched.accounts
    return Chosen(list(dict.fromkeys(ids)), list(dict.fromkeys(accounts)))


def rebuild(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    crm: CrmResource,
    delta_store_file: DeltaStoreResource,
    chosen: Chosen,
    tell: Callable[[Progress], None],
) -> list[TerritoryResult]:
    """Re-read, derive, replicate; one publication whatever the number of territories."""
    watched = WatchedWarehouse(warehouse.open, tell)
    reread_territories(
        watched.open,
        crm.client,
        warehouse.catalog,
        chosen.territories,
        chosen.accounts,
        hold_moves=warehouse.guard.holds_moves,
    )
    tell(watched.progress)
    return publish(context, warehouse, delta_store_file, chosen.territories)


def publish(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    delta_store_file: DeltaStoreResource,
    ids: Collection[str],
) -> list[TerritoryResult]:
    """Derive and replicate what was read; returns what that did to some territories."""
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        published = publish_soundly(context, connection, warehouse)
        replicate(connection, warehouse.catalog, writer)
        return results(connection, published.seq if published else None, ids)


def _teller(context: dg.OpExecutionContext | dg.AssetExecutionContext, crm: CrmResource) -> Callable[[Progress], None]:
    """Progress as a line of the run's log, and as numbers that the asset's page plots."""

    def tell(progress: Progress) -> None:
        spent = crm.client.operations_spent
        context.log.info(
            "%d of %d reads done after %.0f s, %d operations", progress.done, progress.total, progress.seconds, spent
        )
        metadata = {
            "reads_done": progress.done,
            "reads_total": progress.total,
            "seconds": round(progress.seconds, 1),
            "operations_spent": spent,
        }
        context.log_event(dg.AssetObservation(REBUILD, metadata=metadata))

    return tell


def _metadata(result: TerritoryResult, operations_of_run: int) -> dict[str, int]:
    return {
        "rows_inserted": result.inserted,
        "rows_updated": result.updated,
        "rows_deleted": result.deleted,
        "dagster/row_count": result.rows,
        "operations_of_run": operations_of_run,
    }
