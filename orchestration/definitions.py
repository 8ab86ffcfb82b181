"""The one Definitions object that Dagster loads: wiring only."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from orchestration.assets.checks import digests_agree, equals_recompute
from orchestration.assets.modification_records import modification_records
from orchestration.assets.object_snapshots import snapshot_assets
from orchestration.assets.policy import with_freshness
from orchestration.assets.reconciliation import realign_territories, territory_rebuild
from orchestration.assets.territory_deltas import delta_assets
from orchestration.catalog import load_catalog
from orchestration.hooks import alert_failed_runs, alert_held_publications
from orchestration.jobs import census, full_load, sweep, sync, verify
from orchestration.operations import (
    backup,
    compact_history,
    dry_run_alignment,
    preflight_job,
    rebuild_delta_store,
    reject_held_publication,
    release_held_publication,
)
from orchestration.repairs import rebuild_territory_tables, replay_window
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.schedules import (
    daily_compact,
    daily_prune,
    hourly_stamps,
    hourly_sweep,
    nightly_census,
    nightly_verify,
)
from orchestration.sensors import crm_changes
from orchestration.settings import PipelineSettings
from orchestration.stream import stream
from orchestration.upkeep import prune_history, stamp_territories

_catalog = load_catalog()
_assets = [modification_records, *snapshot_assets(_catalog), *delta_assets(_catalog), territory_rebuild]
_heartbeat = timedelta(seconds=PipelineSettings.from_environment().heartbeat_seconds)

defs = dg.Definitions(
    assets=with_freshness(_assets, _heartbeat),
    asset_checks=[equals_recompute, digests_agree],
    jobs=[
        sync,
        stream,
        full_load,
        sweep,
        census,
        verify,
        preflight_job,
        dry_run_alignment,
        realign_territories,
        replay_window,
        rebuild_territory_tables,
        release_held_publication,
        reject_held_publication,
        rebuild_delta_store,
        compact_history,
        backup,
        prune_history,
        stamp_territories,
    ],
    schedules=[hourly_sweep, nightly_census, daily_compact, nightly_verify, daily_prune, hourly_stamps],
    sensors=[crm_changes, alert_failed_runs, alert_held_publications],
    resources={
        "warehouse": WarehouseResource(),
        "crm": CrmResource(),
        "delta_store_file": DeltaStoreResource(),
    },
    # Debug lines would bury what a person wants to read.
    loggers={"console": dg.colored_console_logger.configured({"log_level": "INFO"})},
    # Small steps: a process for each would cost more than the work.
    executor=dg.in_process_executor,
)
