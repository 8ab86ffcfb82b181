"""What the clock runs on Dagster's own records: forgetting old runs, and stamping territories that changed."""

from datetime import UTC, datetime

import dagster as dg

from orchestration.advice import advised
from orchestration.partitions import partition_key, territories
from orchestration.pipeline.stamps import due_stamps, stamped_up_to
from orchestration.pipeline.warehouse import utc_now
from orchestration.prune import prune
from orchestration.resources.warehouse import WarehouseResource
from orchestration.settings import RunRetention
from orchestration.tenancy import RUN_TAGS, asset_key


@dg.op
@advised
def forget_old_runs(context: dg.OpExecutionContext) -> None:
    """Delete runs, with their events and logs, that are older than their kind is kept for."""
    pruned = prune(context.instance, RunRetention.from_environment(), datetime.now(UTC))
    context.add_output_metadata({**pruned.runs, "runs_kept": pruned.kept, "files_shrunk": pruned.files_shrunk})
    context.log.info("Forgot %d runs, kept %d", pruned.runs.total(), pruned.kept)


@dg.job(
    tags=RUN_TAGS,
    description="Forget old runs, so that they do not fill the disk (daily). RUNS_KEEP_... set for how long.",
)
def prune_history() -> None:
    forget_old_runs()


# Not in the writer pool, where syncs would wait for all its events: for two short reads the file's own lock will do.
@dg.op
@advised
def stamp_changed_territories(context: dg.OpExecutionContext, warehouse: WarehouseResource) -> None:
    """Log one materialization of ``territory_rebuild`` for each territory that syncs changed since the last stamps."""
    with warehouse.open() as connection:
        stamps = due_stamps(connection, utc_now())
    known = set(context.instance.get_dynamic_partitions(str(territories.name)))
    for stamp in stamps:
        key = partition_key(stamp.territory, stamp.name)
        if key in known:
            metadata = {
                "dagster/row_count": dg.MetadataValue.int(stamp.rows),
                "changed_by_publication": dg.MetadataValue.int(stamp.changed_by),
                "changed_at": dg.MetadataValue.timestamp(stamp.changed_at.replace(tzinfo=UTC)),
            }
            context.log_event(dg.AssetMaterialization(asset_key("territory_rebuild"), partition=key, metadata=metadata))
    with warehouse.open() as connection:
        stamped_up_to(connection, stamps)
    context.add_output_metadata({"territories_stamped": len(stamps)})


@dg.job(tags=RUN_TAGS, description="Show on territory_rebuild which territories changed, and when (hourly).")
def stamp_territories() -> None:
    stamp_changed_territories()
