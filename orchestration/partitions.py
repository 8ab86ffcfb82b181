"""Territories as a dynamic partition set: the handle by which people pick some for a rebuild."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import dagster as dg

from orchestration.tenancy import instance_wide, own_runs

territories = dg.DynamicPartitionsDefinition(name=instance_wide("territory"))


@dataclass(frozen=True)
class PartitionPlan:
    """Keys to add, in the order in which the UI will show them, and keys to delete."""

    add: tuple[str, ...]
    delete: tuple[str, ...]


def partition_key(territory_id: str, name: str | None) -> str:
    """A key that people recognise and that stays unique: the name, then the CRM's id."""
    return f"{name} {territory_id}" if name else territory_id


def territory_id(key: str) -> str:
    """The CRM's id in a partition key."""
    return key.rsplit(" ", 1)[-1]


def plan_partitions(wanted: Iterable[str], existing: Collection[str], in_flight: Collection[str]) -> PartitionPlan:
    """Bring the set in step. An empty reading changes nothing, and a key that a run still needs is not deleted."""
    keys = set(wanted)
    if not keys:
        return PartitionPlan((), ())
    gone = set(existing) - keys - set(in_flight)
    return PartitionPlan(tuple(sorted(keys - set(existing))), tuple(sorted(gone)))


def keep_in_step(instance: dg.DagsterInstance, wanted: Iterable[str]) -> PartitionPlan:
    """Apply the plan to an instance."""
    name = str(territories.name)
    unfinished = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    runs = instance.get_runs(own_runs(statuses=unfinished))
    in_flight = {key for run in runs for key in (run.tags.get("dagster/partition"),) if key}
    # A range run names its ends only: while one is under way, nothing is deleted.
    ranged = any("dagster/asset_partition_range_start" in run.tags for run in runs)
    existing = instance.get_dynamic_partitions(name)
    plan = plan_partitions(wanted, existing, existing if ranged else in_flight)
    if plan.add:
        instance.add_dynamic_partitions(name, list(plan.add))
    for key in plan.delete:
        instance.delete_dynamic_partition(name, key)
    return plan
