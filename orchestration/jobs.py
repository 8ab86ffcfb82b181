"""Jobs that read the CRM and publish. Job names are stable: operators, schedules and tests call them."""

import dagster as dg

from orchestration.assets.checks import digests_agree, equals_recompute
from orchestration.assets.modification_records import PollConfig, modification_records
from orchestration.tenancy import RUN_TAGS

MAX_SYNC_SECONDS = 3600
FULL_CHECKS = dg.AssetSelection.checks(equals_recompute, digests_agree)
HOT_PATH = dg.AssetSelection.groups("ingest", "snapshots", "deltas") - FULL_CHECKS

sync = dg.define_asset_job(
    "sync",
    selection=HOT_PATH,
    description="Read what is new in the CRM, and publish what it changes for devices.",
    tags={**RUN_TAGS, "dagster/max_runtime": str(MAX_SYNC_SECONDS)},
)

full_load = dg.define_asset_job(
    "full_load",
    selection=HOT_PATH,
    description="Read every object whole, then publish. Killed, it goes on where it was when run again.",
    tags=RUN_TAGS,
    config=dg.RunConfig(ops={modification_records.op.name: PollConfig(full_load=True)}),
)


sweep = dg.define_asset_job(
    "sweep",
    selection=HOT_PATH,
    description="A sync that also reads all objects by ModifiedDate since the last sweep: imports may write no events.",
    tags=RUN_TAGS,
    config=dg.RunConfig(ops={modification_records.op.name: PollConfig(reconcile="sweep")}),
)

census = dg.define_asset_job(
    "census",
    selection=HOT_PATH,
    description="A sync that also compares every row's id and modification number with the CRM's.",
    tags=RUN_TAGS,
    config=dg.RunConfig(ops={modification_records.op.name: PollConfig(reconcile="census")}),
)

verify = dg.define_asset_job(
    "verify",
    selection=FULL_CHECKS,
    tags=RUN_TAGS,
    description="Compare all published tables with a recompute from the snapshots, and the delta store with itself.",
)
