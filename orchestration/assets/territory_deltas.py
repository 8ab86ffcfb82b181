"""From snapshots to publications: content versions, visibility, per-territory deltas, and the delta store."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from delta_service.store.errors import StoreDamagedError
from delta_service.store.reader import reading
from orchestration.advice import advised
from orchestration.assets import lineage
from orchestration.assets.checks import (
    PUBLICATION_CHECKS,
    STORE_EQUALS_WAREHOUSE,
    publication_checks,
    store_equals_warehouse,
)
from orchestration.assets.held import NOTHING_HELD, nothing_held, tag_held
from orchestration.assets.policy import CODE_VERSION, OWNERS, PUBLICATION_TAG, WRITER_POOL
from orchestration.assets.presentation import numbers, of_delta_store, of_publication
from orchestration.catalog import Catalog
from orchestration.pipeline.derive import derive, read_as_of
from orchestration.pipeline.hydrate import hydrate_remaining
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.warehouse import utc_now
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import asset_key
from orchestration.tracing import publication_timings, trace_publications


def delta_assets(catalog: Catalog) -> Sequence[dg.AssetsDefinition]:
    """The derived tables, which one transaction writes together, and the delta store that follows them."""
    snapshots = [obj.name for obj in catalog]

    def spec(name: str, metadata: dict[str, Any], description: str, deps: Sequence[str]) -> dg.AssetSpec:
        return dg.AssetSpec(
            asset_key(name),
            deps=map(asset_key, deps),
            description=description,
            metadata=metadata,
            group_name="deltas",
            kinds={"duckdb"},
            owners=OWNERS,
            code_version=CODE_VERSION,
            tags={"store": "warehouse"},
        )

    @dg.multi_asset(
        name="publication",
        pool=WRITER_POOL,
        specs=[
            spec(
                "row_versions",
                lineage.row_versions(catalog),
                "Validity intervals of each served row's content.",
                snapshots,
            ),
            spec("visibility", lineage.visibility(catalog), "Validity intervals of rows in territories.", snapshots),
            spec(
                "territory_deltas",
                lineage.territory_deltas(),
                "What each publication inserts, updates and deletes in each territory.",
                ["row_versions", "visibility"],
            ),
        ],
        check_specs=[*PUBLICATION_CHECKS.values(), NOTHING_HELD],
    )
    @advised
    def publication(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, crm: CrmResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Close and open intervals for whatever the snapshots changed; all three tables in one transaction."""
        hydrate_remaining(warehouse.open, crm.client, warehouse.catalog, hold_moves=warehouse.guard.holds_moves)
        with warehouse.open() as connection:
            as_of = read_as_of(connection)
            result = derive(connection, warehouse.catalog, as_of=as_of, now=utc_now(), guard=warehouse.guard)
            metadata = of_publication(connection, result, as_of, utc_now())
            held = nothing_held(connection)
            checks = [*publication_checks(connection), held]
        tag_held(context, held)
        if result:
            context.instance.add_run_tags(context.run_id, {PUBLICATION_TAG: str(result.seq)})
        context.log.info("Published %s" if result else "Nothing changed for any device; as of %s", result or as_of)
        yield dg.MaterializeResult(asset_key=asset_key("row_versions"), metadata=numbers(result))
        yield dg.MaterializeResult(asset_key=asset_key("visibility"), metadata=numbers(result))
        yield dg.MaterializeResult(asset_key=asset_key("territory_deltas"), metadata=metadata, check_results=checks)

    @dg.asset(
        key=asset_key("delta_store"),
        deps=[asset_key("territory_deltas")],
        group_name="deltas",
        kinds={"sqlite"},
        owners=OWNERS,
        pool=WRITER_POOL,
        code_version=CODE_VERSION,
        tags={"store": "service"},
        check_specs=[STORE_EQUALS_WAREHOUSE],
    )
    @advised
    def delta_store(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, delta_store_file: DeltaStoreResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """The replica that the delta service reads: brought up to the warehouse's newest publication."""
        with warehouse.open() as connection:
            location = warehouse.settings.delta_store_location
            with delta_store_file.writer() as writer:
                result = replicate(connection, warehouse.catalog, writer)
                try:
                    with reading(location) as store:
                        check = store_equals_warehouse(connection, store)
                except StoreDamagedError as error:
                    # What this publication did not touch.
                    copied = replicate(connection, warehouse.catalog, writer, full_copy=True)
                    result = replace(copied, repaired=str(error))
                    with reading(location) as store:
                        check = store_equals_warehouse(connection, store)
            if result.repaired:
                context.log.warning("The delta store was made anew from the warehouse: %s", result.repaired)
            timings = publication_timings(connection, result.published_seq, result.applied)
        trace_publications(timings)
        yield dg.MaterializeResult(metadata=of_delta_store(result), check_results=[check])

    return [publication, delta_store]
