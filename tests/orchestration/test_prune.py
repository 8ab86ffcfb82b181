"""Old runs are deleted, but no records that are still needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import text

from orchestration.assets.policy import PUBLICATION_TAG
from orchestration.due import last_poll
from orchestration.partitions import territories
from orchestration.prune import EndedRun, due_runs, prune
from orchestration.settings import RunRetention
from tests.orchestration.dagster_private import SqliteEventLogStorage, SqlRunStorage

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NOTHING_KEPT = RunRetention(quiet_days=0, routine_days=0, operator_days=0, newest_of_each_job=0)
ROUTINE = {"dagster/sensor_name": "crm_changes"}


@dg.asset(check_specs=[dg.AssetCheckSpec("ok", asset="modification_records")])
def modification_records() -> Iterator[dg.MaterializeResult[None]]:
    stamp = dg.MetadataValue.timestamp(NOW)
    yield dg.MaterializeResult(
        metadata={"watermark": stamp, "probe_from": stamp, "probe_count": 3, "full_load": False},
        check_results=[dg.AssetCheckResult(passed=True)],
    )


@dg.asset(partitions_def=territories)
def territory_rebuild() -> None:
    """One partition for each territory."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """As it is on disk: SQLite, one file for each run."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def sync(instance: dg.DagsterInstance, tags: dict[str, str] | None = None) -> str:
    return dg.materialize([modification_records], instance=instance, tags=tags).run_id


def rebuild(instance: dg.DagsterInstance, key: str) -> str:
    return dg.materialize([territory_rebuild], instance=instance, partition_key=key).run_id


def run(number: int, kind: str, days_old: float, job: str = "sync") -> EndedRun:
    return EndedRun(f"{kind} {number}", job, NOW - timedelta(days=days_old), kind != "operator", kind == "quiet")


def event_files(instance: dg.DagsterInstance) -> dict[str, Path]:
    events = instance.event_log_storage
    assert isinstance(events, SqliteEventLogStorage)
    return {run_id: Path(events.path_for_shard(run_id)) for run_id in events.get_all_run_ids()}


def rows(instance: dg.DagsterInstance, table: str) -> int:
    events, runs = instance.event_log_storage, instance.run_storage
    assert isinstance(events, SqliteEventLogStorage)
    assert isinstance(runs, SqlRunStorage)
    with runs.connect() if table == "run_tags" else events.index_connection() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_each_kind_of_run_has_its_own_retention() -> None:
    ages = {"quiet": (1, 3), "routine": (3, 15), "operator": (399, 401)}
    runs = [run(days, kind, days) for kind, both in ages.items() for days in both]
    due = due_runs(runs, set(), RunRetention(newest_of_each_job=0), NOW)
    assert [one.run_id for one in due] == ["quiet 3", "routine 15", "operator 401"]


def test_the_newest_runs_of_each_job_and_runs_with_a_last_record_are_kept() -> None:
    runs = [run(number, "quiet", 10 + number, job) for job in ("sync", "sweep") for number in range(4)]
    due = due_runs(runs, {"quiet 3"}, RunRetention(newest_of_each_job=2), NOW)
    assert [(one.job, one.run_id) for one in due] == [("sync", "quiet 2"), ("sweep", "quiet 2")]


def test_the_number_of_routine_runs_kept_is_limited() -> None:
    runs = [run(number, "routine", number / 100) for number in range(50)] + [run(99, "operator", 1)]
    due = due_runs(runs, set(), RunRetention(routine_max=30, newest_of_each_job=5), NOW)
    assert [one.run_id for one in due] == [f"routine {number}" for number in range(30, 50)]


def test_a_deleted_run_leaves_no_rows_and_files_behind(instance: dg.DagsterInstance) -> None:
    old = [sync(instance, ROUTINE) for _ in range(3)]
    newest = sync(instance, ROUTINE)
    before = {table: rows(instance, table) for table in ("run_tags", "event_logs", "asset_check_executions")}
    pruned = prune(instance, NOTHING_KEPT, datetime.now(UTC))
    assert pruned.runs == {"quiet": 3}
    assert [one.run_id for one in instance.get_runs()] == [newest]
    assert set(event_files(instance)) == {newest}
    assert not [path for path in Path(instance.root_directory).rglob("*") if any(one in path.name for one in old)]
    for table, count in before.items():
        assert rows(instance, table) == count / 4, table


def test_the_records_that_sensors_partitions_and_checks_need_are_kept(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("territory", ["T1", "T2", "T3"])
    for _ in range(2):
        sync(instance)
    kept = {rebuild(instance, "T1")}
    rebuild(instance, "T2")
    kept |= {rebuild(instance, "T2"), sync(instance)}
    hint = last_poll(instance)
    prune(instance, NOTHING_KEPT, datetime.now(UTC))
    assert {one.run_id for one in instance.get_runs()} == kept
    assert hint is not None
    assert last_poll(instance) == hint
    assert instance.get_materialized_partitions(territory_rebuild.key) == {"T1", "T2"}
    assert rows(instance, "asset_check_executions") == 1


def test_a_run_that_has_not_ended_is_never_deleted(instance: dg.DagsterInstance) -> None:
    job = dg.define_asset_job("one", [modification_records])
    defined = dg.Definitions(assets=[modification_records], jobs=[job]).resolve_job_def("one")
    unfinished = [
        instance.create_run_for_job(defined, status=status).run_id
        for status in (
            dg.DagsterRunStatus.NOT_STARTED,
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.CANCELING,
        )
    ]
    ended = instance.create_run_for_job(defined, status=dg.DagsterRunStatus.FAILURE).run_id
    prune(instance, NOTHING_KEPT, datetime.now(UTC) + timedelta(days=1000))
    left = {one.run_id for one in instance.get_runs()}
    assert left == set(unfinished)
    assert ended not in left


def test_a_run_that_published_is_not_a_quiet_run(instance: dg.DagsterInstance) -> None:
    published = sync(instance, {**ROUTINE, PUBLICATION_TAG: "7"})
    sync(instance, ROUTINE)
    sync(instance)
    retention = RunRetention(quiet_days=0, newest_of_each_job=0)
    assert prune(instance, retention, datetime.now(UTC)).runs == {"quiet": 1}
    assert published in {one.run_id for one in instance.get_runs()}


def test_event_files_of_kept_runs_are_shrunk_once_and_stay_readable(instance: dg.DagsterInstance) -> None:
    run_id = sync(instance)
    events = len(instance.all_logs(run_id))
    before = event_files(instance)[run_id].stat().st_size
    assert prune(instance, RunRetention(), datetime.now(UTC)).files_shrunk == 1
    assert event_files(instance)[run_id].stat().st_size < before * 0.7
    assert len(instance.all_logs(run_id)) == events
    assert prune(instance, RunRetention(), datetime.now(UTC)).files_shrunk == 0
