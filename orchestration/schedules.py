"""What runs by the clock: looking for changes that the CRM wrote no event about, and forgetting old history."""

from __future__ import annotations

import dagster as dg

from orchestration.jobs import census, sweep, verify
from orchestration.operations import compact_history
from orchestration.settings import census_cron
from orchestration.upkeep import prune_history, stamp_territories

# Jobs made of operations are named, since definitions.py attaches hooks to copies of them.

hourly_sweep = dg.ScheduleDefinition(
    job=sweep, cron_schedule="17 * * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)

# What only a census finds is found within a day. It costs one operation for each hundred rows of the CRM, and
# CENSUS_LINK_ROWS more for each object with links: who finds that too much chooses a rarer time.
nightly_census = dg.ScheduleDefinition(
    job=census, cron_schedule=census_cron(), default_status=dg.DefaultScheduleStatus.RUNNING
)

daily_compact = dg.ScheduleDefinition(
    job_name=compact_history.name, cron_schedule="30 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)

nightly_verify = dg.ScheduleDefinition(
    job=verify, cron_schedule="0 4 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)

daily_prune = dg.ScheduleDefinition(
    job_name=prune_history.name, cron_schedule="45 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)

hourly_stamps = dg.ScheduleDefinition(
    job_name=stamp_territories.name, cron_schedule="47 * * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
