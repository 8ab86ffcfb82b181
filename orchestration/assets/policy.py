"""What every asset of the project shares: decided once, here."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

from orchestration.pipeline.schema import Table
from orchestration.tenancy import asset_key, instance_wide

# Each run's process would print it. Backfills in one run are wanted here, and tested; other beta features still warn.
warnings.filterwarnings("ignore", "Parameter `backfill_policy` of function `asset` is currently in beta")

OWNERS = ["team:crm-data"]
WRITER_POOL = instance_wide("warehouse_writer")
"""One run at a time opens the warehouse; the pool's limit is set in dagster.yaml."""
CODE_VERSION = "1"
FRESH = {asset_key(name) for name in ("modification_records", "territory_deltas", "delta_store")}
"""How far the CRM is read, and how old the newest publication and what devices get can be."""
PUBLICATION_TAG = "territory_delta/publication"
"""On each sync that published something: the publication's number."""

HELD_TAG = "held"
"""On each run that publishes while the guard holds rows: how many."""


def table_metadata(table: Table) -> dict[str, Any]:
    """Column schema and table name as the Dagster UI shows them."""
    return {
        "dagster/table_name": table.name,
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(column.name, column.type, column.description) for column in table.columns]
        ),
    }


def with_freshness(assets: Iterable[dg.AssetsDefinition], heartbeat: timedelta) -> list[dg.AssetsDefinition]:
    """Say from when on the hot path's ends are stale: after three heartbeats it warns, after twelve it fails.

    A quiet CRM makes nothing stale: at each heartbeat a sync runs and materializes all of them, with news or without.
    """
    heartbeat = max(heartbeat, timedelta(minutes=5))
    policy = dg.FreshnessPolicy.time_window(fail_window=12 * heartbeat, warn_window=3 * heartbeat)

    def spec(one: dg.AssetSpec) -> dg.AssetSpec:
        return one.replace_attributes(freshness_policy=policy) if one.key in FRESH else one

    return list(dg.map_asset_specs(spec, assets))
