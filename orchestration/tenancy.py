"""Whose pipeline this process is: what tells one tenant from another in a Dagster instance that several share.

A tenant is one CRM pod: one code location, named as the tenant, and one worker, which alone has the tenant's
environment: its stores, its secrets, its CRM. What Dagster keeps by code location (jobs, sensors and their cursors,
schedules) is apart by itself. What it keeps for the whole instance gets the tenant's name here: asset keys, pools,
partition sets; and runs are asked for by their code location. Without ``TENANT`` all names are plain.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from orchestration.settings import SettingsError

_REPOSITORY = "__repository__"
"""Dagster's name for the one ``Definitions`` of a code location."""
_REPOSITORY_TAG = ".dagster/repository"
"""Dagster puts it on each run that a sensor, a schedule or a person at the UI launches: ``repository@location``."""


def tenant_from_environment() -> str:
    """The setting ``TENANT``; empty without tenants. Raises ``SettingsError`` for an invalid name."""
    name = os.environ.get("TENANT", "")
    if name and not re.fullmatch("[a-z][a-z0-9_]{0,39}", name):
        raise SettingsError(f"TENANT={name!r} is no name of lower-case letters, digits and underscores")
    return name


TENANT = tenant_from_environment()
LOCATION = TENANT or "territory_delta"
"""The code location's name in the workspace, and that of the queue from which the tenant's worker takes runs."""
RUN_TAGS = {_REPOSITORY_TAG: f"{_REPOSITORY}@{TENANT}"} if TENANT else {}
"""On every job, so that runs started without Dagster's daemon (``dagster job execute``) are the tenant's too."""


def asset_key(name: str) -> dg.AssetKey:
    """The key of one of our assets."""
    return dg.AssetKey([TENANT, name] if TENANT else [name])


def instance_wide(name: str) -> str:
    """The name of a pool or of a set of partitions."""
    return f"{TENANT}/{name}" if TENANT else name


def own_runs(
    job_name: str | None = None,
    statuses: Sequence[dg.DagsterRunStatus] | None = None,
    updated_after: datetime | None = None,
) -> dg.RunsFilter:
    """Of this tenant's runs, those that are meant."""
    return dg.RunsFilter(job_name=job_name, statuses=statuses, updated_after=updated_after, tags=RUN_TAGS)


def is_own(run: dg.DagsterRun) -> bool:
    """Whether the run is this tenant's; without a tenant, all are."""
    return RUN_TAGS.items() <= run.tags_for_storage().items()


def location_of(run: dg.DagsterRun) -> str:
    """The name of the code location that a run belongs to."""
    return run.tags_for_storage().get(_REPOSITORY_TAG, LOCATION).rpartition("@")[2]


def require_location(name: str) -> None:
    """Runs could not be told apart if the workspace called the code location otherwise: raises ``SettingsError``."""
    if TENANT and name != TENANT:
        raise SettingsError(f"TENANT is {TENANT!r}, but the workspace calls this code location {name!r}: use one name")
