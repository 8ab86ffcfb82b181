"""From snapshots to publications: content versions, visibility, per-territory deltas, and the delta store."""

from collections.abc import Iterator, Sequence
from datetime import UTC

import dagster as dg

from orchestration.assets.checks import MOVES_BALANCE, ROWS_HAVE_BODIES, publication_checks
from orchestration.assets.policy import CODE_VERSION, OWNERS, WRITER_POOL, table_metadata
from orchestration.catalog import Catalog
from orchestration.pipeline.derive import PublicationResult, derive, read_as_of
from orchestration.pipeline.hydrate import hydrate_remaining
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.report import recent_publications, touched_territories
from orchestration.pipeline.schema import ROW_VERSION, TERRITORY_DELTA, VISIBILITY, Table
from orchestration.pipeline.warehouse import utc_now
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource


def delta_assets(catalog: Catalog) -> Sequence[dg.AssetsDefinition]:
    """The derived tables, which one transaction writes together, and the delta store that follows them."""
    snapshots = [dg.AssetKey(obj.name) for obj in catalog]

    def spec(name: str, table: Table, description: str, deps: Sequence[dg.AssetKey | str]) -> dg.AssetSpec:
        return dg.AssetSpec(
            name,
            deps=deps,
            description=description,
            metadata=table_metadata(table),
            group_name="deltas",
            kinds={"duckdb"},
            owners=OWNERS,
            code_version=CODE_VERSION,
        )

    @dg.multi_asset(
        name="publication",
        pool=WRITER_POOL,
        specs=[
            spec("row_versions", ROW_VERSION, "Validity intervals of each served row's content.", snapshots),
            spec("visibility", VISIBILITY, "Validity intervals of rows in territories.", snapshots),
            spec(
                "territory_deltas",
                TERRITORY_DELTA,
                "What each publication inserts, updates and deletes in each territory.",
                ["row_versions", "visibility"],
            ),
        ],
        check_specs=[ROWS_HAVE_BODIES, MOVES_BALANCE],
    )
    def publication(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, crm: CrmResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Close and open intervals for whatever the snapshots changed; all three tables in one transaction."""
        hydrate_remaining(warehouse.open, crm.client, warehouse.catalog)
        with warehouse.open() as connection:
            as_of = read_as_of(connection)
            result = derive(connection, warehouse.catalog, as_of=as_of, now=utc_now(), guard=warehouse.guard)
            territories = touched_territories(connection, result.seq) if result else ""
            history = recent_publications(connection)
            checks = list(publication_checks(connection, result.seq if result else None))
        context.log.info("Published %s" if result else "Nothing changed for any device; as of %s", result or as_of)
        numbers = _numbers(result)
        yield dg.MaterializeResult(asset_key="row_versions", metadata=numbers)
        yield dg.MaterializeResult(asset_key="visibility", metadata=numbers)
        yield dg.MaterializeResult(
            asset_key="territory_deltas",
            check_results=checks,
            metadata={
                **numbers,
                "crm_lag_seconds": dg.MetadataValue.float((utc_now() - as_of).total_seconds()),
                "as_of": dg.MetadataValue.timestamp(as_of.replace(tzinfo=UTC)),
                "recent_publications": dg.MetadataValue.md(history),
                **({"territories": dg.MetadataValue.md(territories)} if territories else {}),
            },
        )

    @dg.asset(
        deps=["territory_deltas"],
        group_name="deltas",
        kinds={"sqlite"},
        owners=OWNERS,
        pool=WRITER_POOL,
        code_version=CODE_VERSION,
    )
    def delta_store(warehouse: WarehouseResource, delta_store_file: DeltaStoreResource) -> dg.MaterializeResult[None]:
        """The replica that the delta service reads: brought up to the warehouse's newest publication."""
        with warehouse.open() as connection, delta_store_file.writer() as writer:
            result = replicate(connection, warehouse.catalog, writer)
        return dg.MaterializeResult(
            metadata={
                "published_seq": dg.MetadataValue.int(result.published_seq),
                "publications_applied": dg.MetadataValue.int(result.applied),
                "full_copy": dg.MetadataValue.bool(result.full_copy),
            }
        )

    return [publication, delta_store]


def _numbers(result: PublicationResult | None) -> dict[str, dg.MetadataValue]:
    return {
        "published": dg.MetadataValue.bool(result is not None),
        "territories_touched": dg.MetadataValue.int(result.territories if result else 0),
        "rows_inserted": dg.MetadataValue.int(result.inserted if result else 0),
        "rows_updated": dg.MetadataValue.int(result.updated if result else 0),
        "rows_deleted": dg.MetadataValue.int(result.deleted if result else 0),
        **({"seq": dg.MetadataValue.int(result.seq)} if result else {}),
    }
