"""Several tenants on one Dagster, with real processes: what they share, and what each has for itself."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from tests.distributed.redis_server import RedisServer, require_redis
from tests.e2e.changes import RandomChanges
from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.system import BIN, PROJECT, System, answers
from tests.ports import free_port
from tests.postgres.cluster import Cluster
from tests.waiting import wait_until

PATIENCE_SECONDS = 240
"""For whatever Dagster does by itself; a busy machine needs it."""
NOTICED_SECONDS = 3
"""How often runs are looked after; shipped is 15."""


class Shared:
    """PostgreSQL, Redis, and Dagster's daemon, whose environment has nothing of any tenant."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.redis = RedisServer()
        self.cluster = Cluster()
        self.cluster.sql("CREATE DATABASE dagster")
        settings = yaml.safe_load((PROJECT / "orchestration/dagster_home/dagster-celery.yaml").read_text())
        settings["run_monitoring"]["poll_interval_seconds"] = NOTICED_SECONDS
        self.dagster_yaml = yaml.safe_dump(settings)
        self.dagster = {
            "DAGSTER_PG_URL": f"postgresql+psycopg2://postgres@/dagster?host={self.cluster.folder}",
            "CELERY_BROKER_URL": self.redis.url,
            "CELERY_RESULT_BACKEND": self.redis.url,
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "60",
        }
        program = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
        self.environment = program | self.dagster | {"DAGSTER_HOME": str(self.dagster_home(home))}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            self.instance = DagsterInstance.get()
            # Read from the environment when first asked for.
            self.launcher = self.instance.run_launcher
        self._daemon = System(home)
        self._daemon.environment = self.environment

    def dagster_home(self, home: Path) -> Path:
        """Each host has one."""
        folder = home / "dagster"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dagster.yaml").write_text(self.dagster_yaml)
        return folder

    def start_daemon(self, tenants: list[Tenant]) -> None:
        places = [
            {"grpc_server": {"host": "127.0.0.1", "port": tenant.code_port, "location_name": tenant.name}}
            for tenant in tenants
        ]
        workspace = self.home / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": places}))
        self._daemon.start_process("daemon", [BIN / "dagster-daemon", "run", "--workspace", workspace])

    @property
    def daemon_pid(self) -> int:
        return self._daemon.processes["daemon"].pid

    def stop(self) -> None:
        self.instance.dispose()
        self._daemon.stop()
        self.cluster.destroy()
        self.redis.destroy()


@dataclass
class Tenant(System):
    """One CRM, one code server, workers that alone have the warehouse, a delta store and services."""

    name: str = "acme"
    shared: Shared = field(kw_only=True)
    seed: int = 1
    code_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        self.environment = {"DELTA_STORE_URL": self.shared.cluster.new_store(), "DELTA_GUARD_MIN_ROWS": "1000000"}
        super().__post_init__()
        self.environment |= self.shared.dagster
        self.environment |= {"DAGSTER_HOME": str(self.shared.dagster_home(self.home)), "TENANT": self.name}
        self._devices: list[Device] = []

    def start(self, accounts: int, workers: int = 1) -> None:
        """All but the service, which has nothing to say before the first load."""
        self.start_crm(accounts, 4, self.seed)
        self.changes = RandomChanges(self, self.seed)
        place = ["--host", "127.0.0.1", "--port", self.code_port, "--location-name", self.name]
        module = ["--module-name", "orchestration.definitions"]
        self.start_process("code", [BIN / "dagster", "code-server", "start", *place, *module])
        for number in range(1, workers + 1):
            self.start_worker(number)

    def start_worker(self, number: int = 1) -> None:
        name = f"{self.name}{number}@%h"
        options = ["--concurrency", 2, "--loglevel", "INFO", "-n", name]
        self.start_process(f"worker{number}", [BIN / "celery", "-A", "orchestration.celery_worker", "worker", *options])

    def stop_worker(self, number: int = 1) -> None:
        """As an operator does: it ends the run that it is at."""
        process = self.processes.pop(f"worker{number}")
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=120)

    def start_replica(self, name: str, port: int) -> str:
        """A service more; returns its address."""
        self.start_process(name, [BIN / "python", "-m", "delta_service", "--host", "127.0.0.1", "--port", port])
        return f"http://127.0.0.1:{port}"

    def runs(self, job: str | None = None, *statuses: DagsterRunStatus) -> list[RunRecord]:
        """Newest first, as Dagster itself tells them apart."""
        tags = {".dagster/repository": f"__repository__@{self.name}"}
        wanted = RunsFilter(job_name=job, statuses=statuses or None, tags=tags)
        return list(self.shared.instance.get_run_records(wanted))

    def processes_of(self, run_id: str) -> list[int]:
        """Ids of the processes that began the run, as its own events say; those that ended since are left out."""
        entries = self.shared.instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT)
        found = [re.search(r"Started process for run \(pid: (\d+)\)", entry.message) for entry in entries]
        pids = [int(one[1]) for one in found if one]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def wait_loaded(self) -> None:
        """Until the sensor has made the first load and the sync after it, and the service serves it."""
        done = DagsterRunStatus.SUCCESS
        wait_until(lambda: bool(self.runs("sync", done)), PATIENCE_SECONDS, f"{self.name} is loaded")
        if "service" not in self.processes:
            self.start_service()
        wait_until(lambda: answers(f"{self.service}/readyz"), 60, f"{self.name} is served")

    def wait_run_under_way(self, since: float) -> RunRecord:
        """The newest run under way that began after a moment (seconds since 1970); one before may be about to end."""
        found: list[RunRecord] = []

        def begun() -> bool:
            found[:] = [run for run in self.runs(None, DagsterRunStatus.STARTED) if (run.start_time or 0.0) > since]
            return bool(found)

        wait_until(begun, PATIENCE_SECONDS, f"a run of {self.name}")
        return found[0]

    def slow(self, seconds: float) -> None:
        """From now on each answer of the CRM takes so long."""
        self.control("faults", kind="stall", seconds=seconds, times=100_000)

    def quick(self) -> None:
        self.http.delete(f"http://127.0.0.1:{self.crm_port}/control/faults")

    def devices(self) -> list[Device]:
        """One for each territory; they keep what they hold from test to test."""
        if not self._devices:
            self._devices = [
                Device(t, self.service, f"/v1/territories/{t}/delta", self.token(t)) for t in self.changes.territories
            ]
        return self._devices

    def wait_equal(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Until all devices hold what the CRM has, which is at rest; then look at every row."""
        oracle = Oracle(self)

        def equal() -> bool:
            # Each time anew: the replica that a device asks may not have seen the newest publication yet.
            for device in self.devices():
                device.poll(self.http, limit=200)
            return all(device.rows == oracle.view({device.name}) for device in self.devices())

        try:
            wait_until(equal, seconds, f"devices of {self.name} equal the oracle")
        except AssertionError:
            for device in self.devices():
                device.expect(oracle.view({device.name}))
            raise


@contextmanager
def running_estate(home: Path, *names: str, accounts: int = 80, workers: int = 1) -> Iterator[list[Tenant]]:
    """Tenants whose processes run; they load by themselves."""
    require_redis()
    shared = Shared(home)
    tenants: list[Tenant] = []
    try:
        for seed, name in enumerate(names, 1):
            secret = f"the-secret-of-{name}-only-of-enough-bytes"
            tenants.append(Tenant(home / name, name=name, shared=shared, seed=seed, secret=secret))
            tenants[-1].start(accounts, workers)
        shared.start_daemon(tenants)
        yield tenants
    finally:
        for tenant in tenants:
            tenant.stop()
        shared.stop()
