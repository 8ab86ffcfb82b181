"""Two tenants in one Dagster instance: names that Dagster keeps instance-wide differ between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import dagster as dg
import pytest

from orchestration import tenancy
from orchestration.hooks import alert_failed_runs
from orchestration.partitions import keep_in_step
from orchestration.prune import ended_runs
from orchestration.sensors import crm_changes
from orchestration.settings import SettingsError
from orchestration.stream import runs_waiting
from tests.e2e.system import PROJECT
from tests.orchestration.alerts import Receiver, SensorTicks
from tests.orchestration.instance_wide_names import instance_wide_names

TAG = ".dagster/repository"
OURS, THEIRS = {TAG: "__repository__@ours"}, {TAG: "__repository__@theirs"}


def start_describing(tenant: str) -> subprocess.Popen[str]:
    """A process of that tenant: names are fixed when modules are imported."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.orchestration.instance_wide_names"],
        cwd=PROJECT, env={**os.environ, "TENANT": tenant}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def described_by(process: subprocess.Popen[str]) -> dict[str, list[str]]:
    printed, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    found: dict[str, list[str]] = json.loads(printed)
    return found


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process belongs to the tenant ``ours``; names fixed at import stay without prefix."""
    monkeypatch.setattr(tenancy, "TENANT", "ours")
    monkeypatch.setattr(tenancy, "RUN_TAGS", OURS)


@dg.op
def work() -> None:
    raise ValueError("as told")


@dg.job
def sync() -> None:
    work()


def run(
    instance: dg.DagsterInstance, of: dict[str, str], status: dg.DagsterRunStatus, partition: str = ""
) -> dg.DagsterRun:
    tags = {**of, **({"dagster/partition": partition} if partition else {})}
    return instance.create_run_for_job(sync, tags=tags, status=status)


def tick(instance: dg.DagsterInstance) -> str:
    with dg.build_sensor_context(instance=instance) as context:
        result = crm_changes(context)
    assert isinstance(result, dg.SensorResult)
    if result.run_requests:
        return ",".join(str(request.job_name) for request in result.run_requests)
    assert result.skip_reason is not None
    return str(result.skip_reason.skip_message)


@pytest.mark.processes
def test_all_instance_wide_names_are_prefixed_with_the_tenant() -> None:
    processes = [start_describing("acme"), start_describing("zenith")]
    assert tenancy.TENANT == ""
    plain, (acme, zenith) = instance_wide_names(), map(described_by, processes)
    for kind in ("assets", "checks", "pools", "partitions", "lineage"):
        assert plain[kind]
        assert sorted(acme[kind]) == sorted(f"acme/{name}" for name in plain[kind]), kind
        assert not set(acme[kind]) & set(zenith[kind]), kind
    assert plain["jobs"] == acme["jobs"]
    assert (plain["locations"], acme["locations"]) == ([""], ["__repository__@acme"])


@pytest.mark.parametrize("name", ["Acme", "a-b", "1st", "a/b", "a b", "a" * 41])
def test_an_invalid_tenant_name_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT", name)
    with pytest.raises(SettingsError, match="TENANT="):
        tenancy.tenant_from_environment()


@pytest.mark.usefixtures("ours")
def test_a_code_location_not_named_after_its_tenant_is_refused() -> None:
    tenancy.require_location("ours")
    with pytest.raises(SettingsError, match="'ours', but the workspace calls this code location 'theirs'"):
        tenancy.require_location("theirs")


@pytest.mark.usefixtures("ours")
def test_an_unfinished_run_of_another_tenant_does_not_stop_the_sensor(instance: dg.DagsterInstance) -> None:
    run(instance, THEIRS, dg.DagsterRunStatus.STARTED)
    assert tick(instance) == "full_load"
    run(instance, OURS, dg.DagsterRunStatus.STARTED)
    assert tick(instance) == "a run is under way"


@pytest.mark.usefixtures("ours")
def test_failed_runs_of_another_tenant_do_not_delay_the_sensor(instance: dg.DagsterInstance) -> None:
    run(instance, OURS, dg.DagsterRunStatus.SUCCESS)
    run(instance, THEIRS, dg.DagsterRunStatus.FAILURE)
    assert tick(instance) == "full_load"


@pytest.mark.usefixtures("ours")
def test_a_stream_ends_only_for_waiting_runs_of_its_own_tenant(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A queued run cannot be created without a daemon, so the filter of the query is checked.
    asked: list[dg.RunsFilter] = []

    def get_runs(wanted: dg.RunsFilter) -> list[dg.DagsterRun]:
        asked.append(wanted)
        return []

    monkeypatch.setattr(instance, "get_runs", get_runs)
    assert runs_waiting(instance) == []
    assert [(one.tags, one.statuses) for one in asked] == [(OURS, [dg.DagsterRunStatus.QUEUED])]


@pytest.mark.usefixtures("ours")
def test_runs_of_another_tenant_are_not_pruned(instance: dg.DagsterInstance) -> None:
    mine = run(instance, OURS, dg.DagsterRunStatus.SUCCESS)
    run(instance, THEIRS, dg.DagsterRunStatus.SUCCESS)
    assert [one.run_id for one in ended_runs(instance)] == [mine.run_id]


@pytest.mark.usefixtures("ours")
def test_a_partition_is_kept_only_for_runs_of_its_own_tenant(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("territory", ["North", "South"])
    run(instance, OURS, dg.DagsterRunStatus.STARTED, "North")
    run(instance, THEIRS, dg.DagsterRunStatus.STARTED, "South")
    assert keep_in_step(instance, ["West"]).delete == ("South",)


@pytest.mark.usefixtures("ours")
def test_failures_of_another_tenant_are_not_alerted(instance: dg.DagsterInstance, receiver: Receiver) -> None:
    failures = SensorTicks(alert_failed_runs, instance)
    failed = []
    for of in (THEIRS, OURS, THEIRS):
        failed.append(sync.execute_in_process(instance=instance, tags=of, raise_on_error=False).run_id)
    failures.tick()
    assert [body["run_id"] for body in receiver.bodies] == [failed[1]]


def test_a_run_launched_by_the_daemon_belongs_to_its_code_location() -> None:
    assert tenancy.location_of(dg.DagsterRun(job_name="sync", run_id="1", tags=THEIRS)) == "theirs"
    assert tenancy.location_of(dg.DagsterRun(job_name="sync", run_id="1")) == "territory_delta"
