"""What an operator does when something was missed or looks wrong: replay a part of the log, derive a territory anew."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from orchestration.advice import advised
from orchestration.assets.checks import publish_soundly
from orchestration.assets.policy import WRITER_POOL
from orchestration.partitions import partition_key
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.rebuild import UnknownTerritoryError, resolve_territories, results
from orchestration.pipeline.rederive import mend_heads, touch_territories
from orchestration.pipeline.replay import WindowError, replay
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.report import territory_results, touched_report
from orchestration.pipeline.warehouse import transaction
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import RUN_TAGS, asset_key


class ReplayConfig(dg.Config):
    """A part of the CRM's event log, by the CRM's clock, such as 2026-11-24T05:00:00Z (UTC where no zone is named)."""

    from_time: str = Field(description="events from this time on")
    to_time: str = Field(default="", description="events before this time; empty means now")


@dg.op(pool=WRITER_POOL)
@advised
def replay_events(
    context: dg.OpExecutionContext,
    config: ReplayConfig,
    warehouse: WarehouseResource,
    crm: CrmResource,
    delta_store_file: DeltaStoreResource,
) -> None:
    """Read the events of a window again, and every row that they name, known or not; then publish."""
    try:
        lower = _moment(config.from_time)
        upper = _moment(config.to_time) if config.to_time else datetime.now(UTC)
        replayed = replay(warehouse.open, crm.client, warehouse.catalog, lower, upper)
    except (WindowError, ValueError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info(
        "The window has %d events, of which %d were not known; %d rows are read again",
        replayed.events, replayed.events_new, replayed.requests,
    )  # fmt: skip
    changed, hold_moves = 0, warehouse.guard.holds_moves
    for obj in warehouse.catalog:
        result = hydrate(warehouse.open, crm.client, warehouse.catalog, obj, hold_moves=hold_moves)
        changed += result.changed + result.deleted + result.lost
    hydrate_remaining(warehouse.open, crm.client, warehouse.catalog, hold_moves=hold_moves)
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        published = publish_soundly(context, connection, warehouse)
        replicate(connection, warehouse.catalog, writer)
        report = touched_report(connection, published.seq) if published else "Nothing changed for any device."
    context.add_output_metadata(
        {
            "report": dg.MetadataValue.md(report),
            "events": replayed.events,
            "events_new": replayed.events_new,
            "rows_changed": changed,
            "operations_spent": crm.client.operations_spent,
        }
    )
    context.log.info("%d rows differed, %d operations\n%s", changed, crm.client.operations_spent, report)


@dg.job(
    tags=RUN_TAGS,
    description="Read a part of the CRM's event log (29 days) again, with every row it names, and publish.",
)
def replay_window() -> None:
    replay_events()


class TerritoryChoice(dg.Config):
    """Which territories; both add up."""

    territories: list[str] = Field(default_factory=list, description="ids or names")
    parent: str = Field(default="", description="id or name: all territories directly below it")


@dg.op(pool=WRITER_POOL)
@advised
def rederive_territories(
    context: dg.OpExecutionContext,
    config: TerritoryChoice,
    warehouse: WarehouseResource,
    delta_store_file: DeltaStoreResource,
) -> None:
    """Work out versions, visibility, sizes and digests of the territories from the snapshots; publish what differs."""
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        try:
            ids = resolve_territories(connection, config.territories, config.parent or None)
        except UnknownTerritoryError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if not ids:
            raise dg.Failure("Name territories, or a parent territory, in the run config.", allow_retries=False)
        rows = touch_territories(connection, ids)
        published = publish_soundly(context, connection, warehouse)
        with transaction(connection):
            mended = mend_heads(connection, ids)
        replicate(connection, warehouse.catalog, writer, full_copy=mended > 0)
        derived = results(connection, published.seq if published else None, ids)
    for one in derived:
        metadata = {"rows_inserted": one.inserted, "rows_updated": one.updated, "rows_deleted": one.deleted}
        key = partition_key(one.territory, one.name)
        context.log_event(dg.AssetMaterialization(asset_key("territory_rebuild"), partition=key, metadata=metadata))
    report = territory_results(derived, 0)
    context.add_output_metadata({"report": dg.MetadataValue.md(report), "rows_derived": rows, "sizes_mended": mended})
    context.log.info("%d rows derived anew, %d sizes or digests were wrong\n%s", rows, mended, report)


@dg.job(
    tags=RUN_TAGS,
    description="Work out chosen territories' tables anew from the snapshots, without the CRM; publish what differs.",
)
def rebuild_territory_tables() -> None:
    rederive_territories()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
