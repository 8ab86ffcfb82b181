"""How much disk Dagster's own records take when a sync runs each 15 s, and how fast the UI's questions are then.

A real full load and a real sync are run once; the runs of the simulated days are copies of that sync's records in
Dagster's SQLite files, with other ids and times. Pruning and questions are the real ones.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import dagster as dg

from benchmarks.results import Measurement
from orchestration.assets.policy import PUBLICATION_TAG
from orchestration.definitions import defs
from orchestration.prune import prune
from orchestration.settings import RunRetention
from tests.e2e.system import running_system

SYNC_EACH_SECONDS = 15
RUNS_PER_DAY = 86_400 // SYNC_EACH_SECONDS
TICKS_PER_RUN = 3
"""The daemon asks the sensor each 5 s: two of three ticks find nothing."""
DAYS_AT_FULL_RATE = 3
YEAR_SCALE = 400
"""The whole year is simulated with a four-hundredth of the runs, and of the limit on them."""
MIB = 2**20


class History:
    """A Dagster instance on disk, to which days of syncs are added as copies of one real run."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self.instance = instance
        self.run_id = run_id
        self.home = Path(instance.root_directory)
        self.run_files = self.home / "history/runs"
        # Kept apart, since pruning takes the real run as well.
        self.template = self.home.parent / "template"
        shutil.copytree(self.run_files, self.template / "events")
        shutil.copyfile(self.home / "history/runs.db", self.template / "runs.db")
        shutil.copytree(self.home / "storage" / run_id, self.template / "logs")

    @contextmanager
    def _opened(self, path: Path) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            with connection:
                yield connection

    def add_day(self, day: datetime, runs: int) -> None:
        """Runs spread over the day, each of which published."""
        times = [day + timedelta(seconds=number * 86_400 / runs) for number in range(runs)]
        copies = {str(uuid.uuid4()): moment for moment in times}
        for run_id in copies:
            self._copy_run_file(run_id)
        with self._opened(self.home / "history/runs.db") as connection:
            for table in ("runs", "run_tags"):
                self._copy_rows(connection, table, self.template / "runs.db", copies)
        with self._opened(self.run_files / "index.db") as connection:
            for table in ("event_logs", "asset_check_executions"):
                self._copy_rows(connection, table, self.template / "events/index.db", copies)
        self._add_ticks(day, runs * TICKS_PER_RUN)

    def _copy_run_file(self, run_id: str) -> None:
        path = self.run_files / f"{run_id}.db"
        shutil.copyfile(self.template / "events" / f"{self.run_id}.db", path)
        with self._opened(path) as connection:
            connection.execute(
                "UPDATE event_logs SET run_id = ?, event = replace(event, ?, ?)", (run_id, self.run_id, run_id)
            )
        shutil.copytree(self.template / "logs", self.home / "storage" / run_id)

    def _copy_rows(self, connection: sqlite3.Connection, table: str, source: Path, copies: dict[str, datetime]) -> None:
        with closing(sqlite3.connect(source)) as template:
            found = template.execute(f"SELECT * FROM {table} WHERE run_id = ?", (self.run_id,))
            names = [column[0] for column in found.description]
            rows = [dict(zip(names, row, strict=True)) for row in found]
        marks = ", ".join(f":{name}" for name in names)
        for run_id, moment in copies.items():
            for row in rows:
                copy = {k: v.replace(self.run_id, run_id) if isinstance(v, str) else v for k, v in row.items()}
                copy |= {name: None for name in ("id",) if name in row}
                stamp = moment.replace(tzinfo=None).isoformat(" ")
                copy |= {name: stamp for name in names if name.endswith("timestamp") and row[name] is not None}
                copy |= {name: moment.timestamp() for name in ("start_time", "end_time") if name in row}
                connection.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", copy)

    def _add_ticks(self, day: datetime, ticks: int) -> None:
        body = "x" * 900  # as measured: a tick's record has 889 to 1,200 characters
        with self._opened(self.home / "schedules/schedules.db") as connection:
            connection.execute("DELETE FROM job_ticks WHERE status = 'SKIPPED' AND timestamp < ?", (_stamp(day, 1),))
            connection.execute("DELETE FROM job_ticks WHERE timestamp < ?", (_stamp(day, 7),))
            connection.executemany(
                "INSERT INTO job_ticks (job_origin_id, status, type, timestamp, tick_body)"
                " VALUES ('s', ?, 'SENSOR', ?, ?)",
                (
                    ("SUCCESS" if number % TICKS_PER_RUN == 0 else "SKIPPED", _stamp(day, -number / ticks), body)
                    for number in range(ticks)
                ),
            )

    def disk_mib(self) -> float:
        return sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file()) / MIB

    def runs(self) -> int:
        return self.instance.get_runs_count()


def _stamp(day: datetime, days_before: float) -> str:
    return (day - timedelta(days=days_before)).replace(tzinfo=None).isoformat(" ")


@contextmanager
def _history() -> Iterator[History]:
    with tempfile.TemporaryDirectory(prefix="event_log") as folder:
        home = Path(folder)
        with running_system(home / "delta") as system:
            (home / "delta").mkdir()
            (home / "dagster").mkdir()
            system.start_crm(200, 10, 1)
            with (
                mock.patch.dict("os.environ", {**system.environment, "DAGSTER_HOME": str(home / "dagster")}),
                dg.DagsterInstance.get() as instance,
            ):
                tags = {"dagster/sensor_name": "crm_changes", PUBLICATION_TAG: "1"}
                for job in ("full_load", "sync"):
                    result = defs.resolve_job_def(job).execute_in_process(instance=instance, tags=tags)
                instance.schedule_storage  # noqa: B018 - makes the file of ticks
                yield History(instance, result.run_id)


def event_log() -> list[Measurement]:
    retention = RunRetention()
    with _history() as history:
        one_run_kib = (history.run_files / f"{history.run_id}.db").stat().st_size / 1024
        start = datetime(2026, 1, 1, tzinfo=UTC)
        sizes, held, seconds = [], [], []
        for number in range(DAYS_AT_FULL_RATE):
            day = start + timedelta(days=number)
            history.add_day(day, RUNS_PER_DAY)
            before = time.process_time()
            prune(history.instance, retention, day + timedelta(days=1))
            seconds.append(time.process_time() - before)
            sizes.append(history.disk_mib())
            held.append(float(history.runs()))
            print(f"day {number + 1}: {held[-1]:.0f} runs, {sizes[-1]:.0f} MiB, pruned in {seconds[-1]:.0f} s of CPU")
        questions = _questions(history.instance)
    with _history() as history:
        scaled = RunRetention(routine_max=retention.routine_max // YEAR_SCALE)
        year = []
        for number in range(365):
            day = start + timedelta(days=number)
            history.add_day(day, RUNS_PER_DAY // YEAR_SCALE)
            prune(history.instance, scaled, day + timedelta(days=1))
            year.append(history.disk_mib())
            if number % 73 == 72:
                print(f"day {number + 1} at 1/{YEAR_SCALE}: {history.runs()} runs, {year[-1]:.1f} MiB")
    return [
        Measurement("file of one run, as written", "KiB", [one_run_kib], "", []),
        Measurement("disk after each day at a sync each 15 s", "MiB", sizes, "", []),
        Measurement("runs held after each day's pruning", "runs", held, "", []),
        Measurement("CPU time of a day's pruning", "s", seconds, "", []),
        Measurement(f"disk in days 10 to 365 of a year, 1/{YEAR_SCALE} of the runs", "MiB", year[9:], "", []),
        *questions,
    ]


def _questions(instance: dg.DagsterInstance) -> list[Measurement]:
    """What the UI's pages ask of the storage, at the plateau."""
    asset = dg.AssetKey("territory_deltas")
    asked = {
        "run list, first page": lambda: instance.get_run_records(limit=25),
        "run list, page 300": lambda: instance.get_runs(limit=7500)[-25:],
        "runs of one job": lambda: instance.get_run_records(dg.RunsFilter(job_name="sync"), limit=25),
        "runs that published": lambda: instance.get_runs(dg.RunsFilter(tags={PUBLICATION_TAG: "1"}), limit=25),
        "100 newest events of an asset": lambda: instance.fetch_materializations(asset, limit=100),
        "newest event of an asset": lambda: instance.get_latest_materialization_event(asset),
    }
    measured = []
    for what, ask in asked.items():
        times = []
        for _ in range(5):
            before = time.perf_counter()
            ask()
            times.append(time.perf_counter() - before)
        measured.append(Measurement(f"{what}, at the plateau", "s", times, "", []))
        print(f"{what}: {statistics.median(times):.3f} s")
    return measured
