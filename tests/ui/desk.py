"""The whole system as an operator runs it: simulator, Dagster's three processes and delta service, on free ports."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster_shared.serdes import serialize_value

from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.system import BIN, PROJECT, System, answers
from tests.ports import free_port
from tests.waiting import wait_until

LOCATION = "territory_delta"
PATIENCE_SECONDS = 240
"""For what the daemon does by itself; long enough for a busy machine."""
FINISHED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


@dataclass
class Desk(System):
    """Simulator, delta service and Dagster; the daemon and the web server are processes of their own."""

    code_port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        super().__post_init__()
        dagster_home = self.home / "dagster"
        dagster_home.mkdir()
        shutil.copy(PROJECT / "orchestration/dagster_home/dagster.yaml", dagster_home)
        self.environment |= {
            "DAGSTER_HOME": str(dagster_home),
            "DAGSTER_CODE_PORT": str(self.code_port),
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "60",
            "DEVICE_SERVICE_URL": self.service,
        }
        self.instance = DagsterInstance.from_config(str(dagster_home))

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    def start_dagster(self) -> None:
        code = ["code-server", "start", "--host", "127.0.0.1", "--port", self.code_port]
        module = ["--module-name", "orchestration.definitions", "--location-name", LOCATION]
        self.start_process("code", [BIN / "dagster", *code, *module])
        workspace = ["--workspace", "demo/workspace.yaml"]
        when = ["demo/when-listening", self.code_port]
        self.start_process(
            "ui", [*when, BIN / "dagster-webserver", "--host", "127.0.0.1", "--port", self.ui_port, *workspace]
        )
        self.start_process("daemon", [*when, BIN / "dagster-daemon", "run", *workspace])
        wait_until(lambda: answers(f"{self.ui}/server_info"), PATIENCE_SECONDS, "Dagster's web server is up")

    def runs(self, job: str) -> list[DagsterRun]:
        """Runs of a job, newest first; picked partitions make runs of job ``__ASSET_JOB``."""
        return list(self.instance.get_runs(RunsFilter(job_name=job)))

    def wait_for_run(
        self, job: str, status: DagsterRunStatus, *, after: int = 0, seconds: float = PATIENCE_SECONDS
    ) -> DagsterRun:
        """Wait until the newest of more than ``after`` runs, which the test launched, has ended with ``status``."""

        def ended() -> bool:
            runs = self.runs(job)
            return len(runs) > after and runs[0].status in FINISHED

        wait_until(ended, seconds, f"run {after + 1} of {job}")
        newest = self.runs(job)[0]
        assert newest.status is status, f"{job} {newest.run_id} ended as {newest.status.value}"
        return newest

    def wait_for_sync(self, status: DagsterRunStatus, known: Collection[str] = ()) -> DagsterRun:
        """Wait until a sync launched by the sensor, not one of ``known``, has ended with ``status``.

        It need not be the newest: a heartbeat or a retry may come in between.
        """

        def ended() -> list[DagsterRun]:
            return [run for run in self.runs("sync") if run.run_id not in known and run.status is status]

        wait_until(lambda: bool(ended()), PATIENCE_SECONDS, f"a sync that ends as {status.value}")
        return ended()[-1]

    def run_status(self, run_id: str) -> DagsterRunStatus | None:
        run = self.instance.get_run_by_id(run_id)
        return run.status if run else None

    def run_ids(self, job: str) -> set[str]:
        return {run.run_id for run in self.runs(job)}

    def wait_until_quiet(self) -> None:
        """Wait until no run is queued or in progress."""
        unfinished = RunsFilter(statuses=[DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
        wait_until(lambda: not self.instance.get_runs(unfinished), PATIENCE_SECONDS, "all runs have ended")

    def events_of(self, run_id: str, of_type: DagsterEventType | None = None) -> list[str]:
        """All that Dagster stored about each event of a run, as JSON."""
        return [serialize_value(entry) for entry in self.instance.all_logs(run_id, of_type=of_type)]

    def sensor_says(self, name: str) -> str:
        """Why the sensor's newest tick launched nothing; empty if it launched a run or has not ended."""
        (state,) = [one for one in self.instance.all_instigator_state() if one.instigator_name == name]
        (tick,) = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        return tick.skip_reason or ""

    def territories(self) -> list[str]:
        """Ids of territories that have accounts, in the order of their names."""
        names = self.names()
        with_accounts = {str(row["TerritoryId"]) for row in self.records("Account") if row["TerritoryId"]}
        return sorted(with_accounts, key=lambda territory: names[territory])

    def names(self) -> dict[str, str]:
        return {row["Id"]: row["TerritoryName"] for row in self.records("Territory")}

    def published_seq(self) -> int:
        return int(self.http.get(f"{self.service}/readyz").json()["publishedSeq"])

    def expect_served(self, territory: str) -> None:
        """Check that a device of this territory gets exactly the rows in the CRM."""
        self.wait_served()
        self.device(territory).expect(Oracle(self).view({territory}))

    def wait_until_served(self, territory: str) -> None:
        """Wait until a device gets that: one sync may read only some of the changes, and the next one the rest."""
        view = Oracle(self).view({territory})
        wait_until(
            lambda: self.device(territory).rows == view, PATIENCE_SECONDS, f"all changes of {territory} are served"
        )

    def device(self, territory: str) -> Device:
        """A new device of the territory, after its first sync."""
        made = Device(territory, self.service, f"/v1/territories/{territory}/delta", self.token(territory))
        made.poll(self.http, limit=500)
        return made

    def personal_data(self) -> set[str]:
        """Names, addresses and numbers of people and places as the CRM has them."""
        fields = {
            "Contact": ("ContactLastName", "ContactEmail", "WorkPhone", "CellularPhone"),
            "Account": ("AccountName", "MainPhone"),
            "User": ("UserSignInId",),
        }
        found = {row.get(name) for service, names in fields.items() for row in self.records(service) for name in names}
        return {str(value) for value in found if value}

    def stop(self) -> None:
        self.instance.dispose()
        super().stop()


@contextmanager
def running_desk(home: Path, *, accounts: int = 200, territories: int = 4, **environment: str) -> Iterator[Desk]:
    """A running system after the sensor's first full load, ready to serve devices."""
    desk = Desk(home, environment=environment)
    try:
        desk.start_crm(accounts, territories, 5)
        desk.start_dagster()
        desk.start_service()
        wait_until(lambda: answers(f"{desk.service}/readyz"), PATIENCE_SECONDS, "the first load is published")
        desk.wait_for_sync(DagsterRunStatus.SUCCESS)
        yield desk
    finally:
        desk.stop()
