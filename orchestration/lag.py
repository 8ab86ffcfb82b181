"""How far devices are behind the CRM at this moment, whether runs succeed, fail or do not come.

A run can say it only for the moment in which it publishes. Where no next one comes in time, the sensor observes it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from orchestration.tenancy import asset_key

CRM_LAG_SECONDS = "crm_lag_seconds"
AS_OF = "as_of"


def lag_metadata(as_of: datetime, now: datetime) -> dict[str, dg.MetadataValue]:
    """``as_of`` (aware) is the CRM's time up to which what is published was read."""
    return {
        CRM_LAG_SECONDS: dg.MetadataValue.float((now - as_of).total_seconds()),
        AS_OF: dg.MetadataValue.timestamp(as_of),
    }


def observe_lag(instance: dg.DagsterInstance, now: datetime, usual: timedelta) -> dg.AssetObservation | None:
    """The lag of the newest publication at ``now``; None before the first, and while it is not beyond the ``usual``.

    Else observations would bury the publications in the list of the asset's events.
    """
    key = asset_key("territory_deltas")
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    if materialization is None or AS_OF not in materialization.metadata:
        return None
    as_of = datetime.fromtimestamp(float(str(materialization.metadata[AS_OF].value)), UTC)
    return dg.AssetObservation(key, metadata=lag_metadata(as_of, now)) if now - as_of > usual else None
