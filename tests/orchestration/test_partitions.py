"""The territories' partition set follows the CRM, and never drops a key that a run needs."""

from __future__ import annotations

import dagster as dg

from orchestration.definitions import defs
from orchestration.partitions import PartitionPlan, keep_in_step, partition_key, plan_partitions, territory_id


def test_partition_keys_contain_territory_name_and_id() -> None:
    key = partition_key("1QA2-608DP", "T 001 North")
    assert key == "T 001 North 1QA2-608DP"
    assert territory_id(key) == "1QA2-608DP"
    assert territory_id(partition_key("1QA2-608DP", None)) == "1QA2-608DP"


def test_new_partition_keys_are_added_in_order_and_old_ones_deleted() -> None:
    assert plan_partitions(["c", "a", "b"], ["b", "z"], []) == PartitionPlan(("a", "c"), ("z",))


def test_an_empty_list_of_territories_changes_no_partition() -> None:
    assert plan_partitions([], ["a"], []) == PartitionPlan((), ())


def test_a_partition_key_is_kept_until_its_run_ends() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        keep_in_step(instance, ["old", "new"])
        run = instance.create_run_for_job(
            defs.resolve_job_def("sync"), status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "old"}
        )
        keep_in_step(instance, ["new"])
        assert set(instance.get_dynamic_partitions("territory")) == {"old", "new"}
        instance.delete_run(run.run_id)
        keep_in_step(instance, ["new"])
        assert instance.get_dynamic_partitions("territory") == ["new"]
