"""A run whose process was killed is ended by the next tick; one that is alive is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestration.definitions import defs
from orchestration.liveness import end_runs_without_process, held_by_run

NOW = datetime.now(UTC)
LATER = NOW + timedelta(hours=1)
JOBS = {"sync"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run_of(instance: dg.DagsterInstance, job: str = "sync", status: str = "STARTED") -> dg.DagsterRun:
    return instance.create_run_for_job(defs.resolve_job_def(job), status=dg.DagsterRunStatus(status))


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


def holder(home: Path, run_id: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from orchestration.liveness import held_by_run
        with held_by_run(Path({str(home)!r}), {run_id!r}):
            print("held", flush=True)
            time.sleep(600)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.processes
def test_a_run_is_ended_when_its_process_was_killed_and_not_before(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = run_of(instance)
    process = holder(tmp_path, run.run_id)
    try:
        assert end_runs_without_process(instance, tmp_path, JOBS, LATER) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert end_runs_without_process(instance, tmp_path, JOBS, NOW) == [run.run_id]
    finally:
        process.kill()
    assert status(instance, run) == "FAILURE"


def test_a_run_that_has_done_its_work_is_alive_until_dagster_has_noted_its_success(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = run_of(instance)
    with held_by_run(tmp_path, run.run_id):
        pass
    assert end_runs_without_process(instance, tmp_path, JOBS, LATER) == []


def test_files_of_ended_runs_are_removed_in_time(tmp_path: Path) -> None:
    with held_by_run(tmp_path, "old"):
        os.utime(tmp_path / "run-locks" / "old", (0, 0))
    with held_by_run(tmp_path, "new"):
        assert [path.name for path in (tmp_path / "run-locks").iterdir()] == ["new"]


@pytest.mark.parametrize("state", ["STARTED", "NOT_STARTED", "CANCELING"])
def test_a_run_that_never_took_its_lock_is_ended_after_a_minute(
    instance: dg.DagsterInstance, tmp_path: Path, state: str
) -> None:
    run = run_of(instance, status=state)
    assert end_runs_without_process(instance, tmp_path, JOBS, NOW) == []
    assert end_runs_without_process(instance, tmp_path, JOBS, LATER) == [run.run_id]


@pytest.mark.processes
def test_another_jobs_killed_run_that_holds_the_warehouse_is_ended_too(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = run_of(instance, "compact")
    assert end_runs_without_process(instance, tmp_path, JOBS, LATER) == []
    process = holder(tmp_path, run.run_id)
    process.kill()
    process.wait()
    assert end_runs_without_process(instance, tmp_path, JOBS, NOW) == [run.run_id]


def test_a_run_of_a_celery_worker_is_left_to_its_launcher(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = run_of(instance)
    instance.add_run_tags(run.run_id, {"dagster-celery/task_id": "task"})
    assert end_runs_without_process(instance, tmp_path, JOBS, LATER) == []


def test_a_home_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / "run-locks").write_text("in the way")
    with held_by_run(tmp_path, "run"):
        pass
