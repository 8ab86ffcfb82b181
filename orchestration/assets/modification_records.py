"""The CRM's event log, read window by window."""

from collections.abc import Iterator
from datetime import UTC
from typing import Literal

import dagster as dg

from orchestration.assets.checks import READ_IN_TIME, read_in_time
from orchestration.assets.policy import CODE_VERSION, OWNERS, WRITER_POOL, table_metadata
from orchestration.pipeline.ingest import PollResult, poll
from orchestration.pipeline.schema import MODIFICATION_RECORDS
from orchestration.resources.crm import CrmResource
from orchestration.resources.warehouse import WarehouseResource


class PollConfig(dg.Config):
    """``full_load``: read every object whole, instead of what the log says is new.

    ``reconcile``: ``sweep`` or ``census``, to find what changed without an event.
    """

    full_load: bool = False
    reconcile: Literal["none", "sweep", "census"] = "none"


@dg.asset(
    group_name="ingest",
    kinds={"soap", "duckdb"},
    owners=OWNERS,
    pool=WRITER_POOL,
    code_version=CODE_VERSION,
    metadata=table_metadata(MODIFICATION_RECORDS),
    check_specs=[READ_IN_TIME],
)
def modification_records(
    context: dg.AssetExecutionContext, config: PollConfig, warehouse: WarehouseResource, crm: CrmResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Modification Tracking events, each once, and the reads they ask for.

    Reads from ten minutes before the last watermark up to the CRM's present time. Without a watermark, or with one too
    old for the log, it asks for a full load of every object instead.
    """
    result = poll(
        warehouse.open,
        crm.client,
        warehouse.catalog,
        warehouse.settings,
        full_load=config.full_load,
        reconcile=config.reconcile,
    )
    if result.unknown_objects:
        context.log.warning("Events about objects not in the catalog: %s", ", ".join(result.unknown_objects))
    yield dg.MaterializeResult(
        metadata=_metadata(result, crm.client.operations_spent), check_results=[read_in_time(result.unread)]
    )


def _metadata(result: PollResult, operations: int) -> dict[str, dg.MetadataValue]:
    metadata: dict[str, dg.MetadataValue] = {
        "watermark": dg.MetadataValue.timestamp(result.watermark.replace(tzinfo=UTC)),
        "full_load": dg.MetadataValue.bool(result.full_load),
        "events_read": dg.MetadataValue.int(result.events_read),
        "events_new": dg.MetadataValue.int(result.events_new),
        "rows_to_read": dg.MetadataValue.int(result.requests),
        "operations_spent": dg.MetadataValue.int(operations),
        "probe_count": dg.MetadataValue.int(result.probe_count),
    }
    if result.probe_from is not None:
        metadata["probe_from"] = dg.MetadataValue.timestamp(result.probe_from.replace(tzinfo=UTC))
    if result.window is not None:
        metadata["window_seconds"] = dg.MetadataValue.int(
            int((result.window.upper - result.window.lower).total_seconds())
        )
    if result.events_by_kind:
        rows = "\n".join(f"| {kind} | {count} |" for kind, count in sorted(result.events_by_kind.items()))
        metadata["events_by_kind"] = dg.MetadataValue.md(f"| event | new |\n|---|---:|\n{rows}")
    if result.unknown_objects:
        metadata["unknown_objects"] = dg.MetadataValue.text(", ".join(result.unknown_objects))
    return metadata
