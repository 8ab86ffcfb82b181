"""Two tenants on one Dagster, with workers by Celery: each lives as if it were alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from dagster import AssetKey, DagsterEventType, DagsterRun, DagsterRunStatus, RunRecord

from orchestration.catalog import load_catalog
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse
from tests.distributed.estate import PATIENCE_SECONDS, Tenant, running_estate
from tests.distributed.stray_run import send_to_queue
from tests.e2e.system import BIN, PROJECT
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e

SLOW_ANSWER_SECONDS = 3.0


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Tenant]]:
    with running_estate(tmp_path_factory.mktemp("estate"), "acme", "zenith") as tenants:
        for tenant in tenants:
            tenant.wait_loaded()
        yield tenants


@pytest.fixture
def acme(estate: list[Tenant]) -> Tenant:
    return estate[0]


@pytest.fixture
def zenith(estate: list[Tenant]) -> Tenant:
    return estate[1]


def change(tenant: Tenant, steps: int = 5) -> None:
    for _ in range(steps):
        tenant.changes.step()


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().replace(b"\0", b"\n").decode()


def wait_status(tenant: Tenant, run_id: str, status: DagsterRunStatus) -> None:
    def reached() -> bool:
        run = tenant.shared.instance.get_run_by_id(run_id)
        return run is not None and run.status is status

    wait_until(reached, 60, f"run {run_id} of {tenant.name} ends as {status.value}")


def slow_run(tenant: Tenant) -> RunRecord:
    """A run under way that will be so for a while: it began when the CRM was slow already."""
    tenant.slow(SLOW_ANSWER_SECONDS)
    grown_slow = time.time()
    change(tenant)
    return tenant.wait_run_under_way(grown_slow)


def equal_to_recompute(tenant: Tenant) -> bool:
    home = Path(tenant.environment["DELTA_HOME"])
    with open_warehouse(home / "warehouse.duckdb", load_catalog(), wait_seconds=60) as connection:
        return not any(differences(connection).values())


def test_both_load_and_sync_by_themselves_into_stores_of_their_own(estate: list[Tenant]) -> None:
    for tenant in estate:
        change(tenant)
    for tenant in estate:
        tenant.wait_equal()
        assert equal_to_recompute(tenant)
        assert (tenant.home / "warehouse.duckdb").exists()
        assert not list(tenant.home.glob("delta.sqlite*"))
    stores = [tenant.environment["DELTA_STORE_URL"] for tenant in estate]
    epochs = []
    for store in stores:
        with psycopg.connect(store) as connection:
            epochs.append(connection.execute("SELECT epoch FROM meta").fetchone())
    assert epochs[0] != epochs[1]


def test_neither_sees_the_others_partitions_runs_or_assets(acme: Tenant, zenith: Tenant) -> None:
    instance = acme.shared.instance
    for tenant in (acme, zenith):
        names = {record["Id"]: record["TerritoryName"] for record in tenant.records("Territory")}
        keys = instance.get_dynamic_partitions(f"{tenant.name}/territory")
        assert set(keys) == {f"{names[t]} {t}" for t in names if any(t in key for key in keys)}
        assert len(keys) >= len(tenant.changes.territories)
        for record in tenant.runs():
            run = record.dagster_run
            assert run.tags["dagster-celery/queue"] == tenant.name
            events = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
            keys_of_run = [entry.dagster_event.asset_key for entry in events if entry.dagster_event]
            assert {key.path[0] for key in keys_of_run if key} <= {tenant.name}
    assert not instance.get_dynamic_partitions("territory")
    assert {key.path[0] for key in instance.all_asset_keys()} == {"acme", "zenith"}
    assert instance.get_latest_materialization_event(AssetKey(["acme", "delta_store"]))
    pools = {info for info in instance.event_log_storage.get_concurrency_keys() if "warehouse" in info}
    assert pools == {"acme/warehouse_writer", "zenith/warehouse_writer"}


def test_a_run_has_its_own_tenants_environment_and_dagsters_daemon_has_no_tenants(acme: Tenant, zenith: Tenant) -> None:
    for tenant, other in ((acme, zenith), (zenith, acme)):
        own = [tenant.secret, tenant.environment["DELTA_STORE_URL"], f"DELTA_HOME={tenant.home}"]
        own.append(f"127.0.0.1:{tenant.crm_port}/")
        foreign = [other.secret, other.environment["DELTA_STORE_URL"], str(other.home), f":{other.crm_port}/"]
        run_id = tenant.runs("sync", DagsterRunStatus.SUCCESS)[0].dagster_run.run_id
        (run_pid,) = tenant.processes_of(run_id)
        for pid in (run_pid, tenant.processes["code"].pid, tenant.processes["service"].pid):
            seen = environment_of(pid)
            assert all(one in seen for one in own)
            assert not any(one in seen for one in foreign)
        daemon = environment_of(tenant.shared.daemon_pid)
        assert not any(one in daemon for one in own)


def test_what_dagster_keeps_and_sends_holds_no_secret(acme: Tenant, zenith: Tenant) -> None:
    dump = subprocess.run(
        [acme.shared.cluster.programs / "pg_dump", "-h", acme.shared.cluster.folder, "-U", "postgres", "dagster"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    sent = b"".join(path.read_bytes() for path in acme.shared.redis.folder.rglob("*") if path.is_file())
    assert "acme/warehouse_writer" in dump
    assert b"execute_job" in sent
    for tenant in (acme, zenith):
        for secret in (tenant.secret, tenant.environment["DELTA_STORE_URL"], "simulator-only"):
            assert secret not in dump
            assert secret.encode() not in sent


def test_a_token_of_one_tenant_is_refused_by_the_others_service(acme: Tenant, zenith: Tenant) -> None:
    for tenant, other in ((acme, zenith), (zenith, acme)):
        territory = other.changes.territories[0]
        for path in (f"/v1/territories/{territory}/delta", "/v1/delta", "/v1/territories"):
            token = tenant.token(territory, *tenant.changes.territories)
            answer = httpx.get(other.service + path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, answer.text


def test_a_run_that_reaches_the_wrong_worker_is_refused(acme: Tenant, zenith: Tenant) -> None:
    instance = acme.shared.instance
    (done, *_) = acme.runs("sync", DagsterRunStatus.SUCCESS)
    stray = DagsterRun(
        job_name="sync",
        tags={".dagster/repository": "__repository__@acme"},
        status=DagsterRunStatus.NOT_STARTED,
        job_code_origin=done.dagster_run.job_code_origin,
    )
    instance.add_run(stray)
    send_to_queue(instance, stray, "zenith")
    wait_status(acme, stray.run_id, DagsterRunStatus.FAILURE)
    said = [entry.message for entry in instance.all_logs(stray.run_id)]
    assert any("A run of acme was sent to the worker of zenith" in one for one in said)


def test_an_operators_job_goes_to_the_tenants_own_worker(zenith: Tenant) -> None:
    """Launched as from the UI, with a queue that somebody made up."""
    subprocess.run(
        [BIN / "dagster", "job", "launch", "-w", zenith.shared.home / "workspace.yaml", "-l", "zenith",
         "-j", "compact", "--tags", '{"dagster-celery/queue": "acme"}'],
        cwd=PROJECT, env=zenith.shared.environment, check=True, capture_output=True,
    )  # fmt: skip
    wait_until(lambda: bool(zenith.runs("compact", DagsterRunStatus.SUCCESS)), PATIENCE_SECONDS, "compact has run")
    (record,) = zenith.runs("compact")
    (pid,) = zenith.processes_of(record.dagster_run.run_id)
    assert zenith.secret in environment_of(pid)


def test_a_slow_pod_does_not_hold_up_the_other(acme: Tenant, zenith: Tenant) -> None:
    slow = slow_run(acme)
    change(zenith)
    zenith.wait_equal()
    began = slow.start_time or 0.0

    def quick_one_ended() -> bool:
        return (zenith.runs("sync", DagsterRunStatus.SUCCESS)[0].start_time or 0.0) > began

    wait_until(quick_one_ended, 60, "a sync of the quick pod ends")
    assert [record.dagster_run.run_id for record in acme.runs(None, DagsterRunStatus.STARTED)] == [
        slow.dagster_run.run_id
    ]
    acme.quick()
    acme.wait_equal()


def test_a_killed_worker_and_a_killed_run_process_are_noticed_and_the_next_syncs_heal(
    acme: Tenant, zenith: Tenant
) -> None:
    # The worker with all its processes, as if its host were gone; and the process alone, as if memory were short. Each
    # at once: one tenant's run may be over before the other's begins.
    struck = {"acme": slow_run(acme).dagster_run.run_id}
    acme.kill("worker1")
    struck["zenith"] = slow_run(zenith).dagster_run.run_id
    (pid,) = zenith.processes_of(struck["zenith"])
    os.kill(pid, signal.SIGKILL)
    acme.start_worker()
    for tenant in (acme, zenith):
        tenant.quick()
        wait_status(tenant, struck[tenant.name], DagsterRunStatus.FAILURE)
    for tenant in (acme, zenith):
        tenant.wait_equal()
        assert equal_to_recompute(tenant)


def test_a_run_that_an_operator_ends_is_canceled_and_the_next_sync_goes_on(acme: Tenant) -> None:
    run_id = slow_run(acme).dagster_run.run_id
    assert acme.shared.launcher.terminate(run_id)
    acme.quick()
    wait_status(acme, run_id, DagsterRunStatus.CANCELED)
    acme.wait_equal()


def test_a_restart_of_the_broker_loses_no_change(acme: Tenant) -> None:
    acme.shared.redis.stop()
    change(acme)
    acme.shared.redis.start()
    acme.wait_equal()


def test_a_warehouse_moves_to_another_host_and_no_device_notices(acme: Tenant) -> None:
    """As the deployment guide says: stop the worker, copy, start one at the new place."""
    cursors = [device.cursor for device in acme.devices()]
    change(acme)
    acme.stop_worker()
    change(acme)
    copies, there = acme.home / "copies", acme.home / "another-host"
    backup([*["create"], str(copies)], acme.environment)
    (copy,) = copies.iterdir()
    backup(["verify", str(copy)], acme.environment)
    acme.environment["DELTA_HOME"] = str(there)
    backup(["restore", str(copy), "--nothing-lost"], acme.environment)
    shutil.rmtree(copies)
    (acme.home / "warehouse.duckdb").unlink()
    acme.start_worker()
    change(acme)
    acme.wait_equal()
    assert equal_to_recompute(acme)
    assert not (acme.home / "warehouse.duckdb").exists()
    assert [device.cursor for device in acme.devices()] != cursors


def backup(arguments: list[str], environment: dict[str, str]) -> None:
    command = [BIN / "python", "-m", "orchestration.backup", *arguments]
    done = subprocess.run(
        [str(part) for part in command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
