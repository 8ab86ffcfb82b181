"""The CRM's event log, read window by window."""

from collections.abc import Iterator
from typing import Literal

import dagster as dg

from orchestration.advice import advised
from orchestration.assets.checks import READ_IN_TIME, read_in_time
from orchestration.assets.policy import CODE_VERSION, OWNERS, WRITER_POOL, table_metadata
from orchestration.assets.presentation import of_poll
from orchestration.pipeline.ingest import poll
from orchestration.pipeline.schema import MODIFICATION_RECORDS
from orchestration.resources.crm import CrmResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import asset_key


class PollConfig(dg.Config):
    """``full_load``: read every object whole, instead of what the log says is new.

    ``reconcile``: ``sweep`` or ``census``, to find what changed without an event.
    """

    full_load: bool = False
    reconcile: Literal["none", "sweep", "census"] = "none"


@dg.asset(
    key=asset_key("modification_records"),
    group_name="ingest",
    kinds={"soap", "duckdb"},
    owners=OWNERS,
    pool=WRITER_POOL,
    code_version=CODE_VERSION,
    tags={"source": "crm"},
    metadata=table_metadata(MODIFICATION_RECORDS),
    check_specs=[READ_IN_TIME],
)
@advised
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
    with warehouse.open() as connection:
        metadata = of_poll(connection, result, crm.client.operations_spent)
    yield dg.MaterializeResult(metadata=metadata, check_results=[read_in_time(result.unread)])
