"""What can be run. Job names are stable: operators, schedules and tests call them."""

import dagster as dg

from orchestration.assets.modification_records import PollConfig
from orchestration.assets.policy import WRITER_POOL
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.derive import release_held
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.warehouse import transaction, utc_now
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource

MAX_SYNC_SECONDS = 3600
HOT_PATH = dg.AssetSelection.groups("ingest", "snapshots", "deltas")

sync = dg.define_asset_job(
    "sync",
    selection=HOT_PATH,
    description="Read what is new in the CRM, and publish what it changes for devices.",
    tags={"dagster/max_runtime": str(MAX_SYNC_SECONDS)},
)

full_load = dg.define_asset_job(
    "full_load",
    selection=HOT_PATH,
    description="Read every object whole, then publish. Killed, it goes on where it was when run again.",
    config=dg.RunConfig(ops={"modification_records": PollConfig(full_load=True)}),
)


sweep = dg.define_asset_job(
    "sweep",
    selection=HOT_PATH,
    description="A sync that also reads all objects by ModifiedDate since the last sweep: imports may write no events.",
    config=dg.RunConfig(ops={"modification_records": PollConfig(reconcile="sweep")}),
)

census = dg.define_asset_job(
    "census",
    selection=HOT_PATH,
    description="A sync that also compares every row's id and modification number with the CRM's.",
    config=dg.RunConfig(ops={"modification_records": PollConfig(reconcile="census")}),
)


class ReleaseConfig(dg.Config):
    """``reason`` is kept with the release."""

    reason: str


@dg.op(pool=WRITER_POOL)
def release_held_rows(context: dg.OpExecutionContext, config: ReleaseConfig, warehouse: WarehouseResource) -> None:
    """Let the change that the mass-delete guard stopped pass with the next sync."""
    with warehouse.open() as connection, transaction(connection):
        try:
            losses = release_held(connection, config.reason, utc_now())
        except ValueError as error:
            raise dg.Failure(f"{error}: there is nothing to release.", allow_retries=False) from error
    for loss in losses:
        context.log.info("Released: %d of %d rows may leave %s", loss.deletes, loss.rows, loss.territory)


@dg.job(description="Publish with the next sync what the mass-delete guard holds. Needs a reason, which is kept.")
def release_held_publication() -> None:
    release_held_rows()


@dg.op(pool=WRITER_POOL)
def copy_warehouse_to_delta_store(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, delta_store_file: DeltaStoreResource
) -> None:
    """Replace the delta store's content by the warehouse's, in one transaction."""
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        result = replicate(connection, warehouse.catalog, writer, full_copy=True)
    context.log.info("The delta store holds publication %d", result.published_seq)


@dg.job(description="Rebuild the delta store from the warehouse. Devices' cursors stay good.")
def rebuild_delta_store() -> None:
    copy_warehouse_to_delta_store()


@dg.op(pool=WRITER_POOL)
def fold_history(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, delta_store_file: DeltaStoreResource
) -> None:
    """Forget what is older than the horizons: the warehouse first, then the delta store."""
    settings = warehouse.settings
    retention = Retention(settings.history_days, settings.body_hours)
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        replicate(connection, warehouse.catalog, writer)
        horizons = compact(connection, retention, utc_now())
        writer.prune(horizons.history_seq, horizons.body_seq)
    context.log.info("Cursors before publication %d get a snapshot from now on", horizons.history_seq)


@dg.job(name="compact", description="Forget history beyond the horizon, superseded texts and old source records.")
def compact_history() -> None:
    fold_history()
