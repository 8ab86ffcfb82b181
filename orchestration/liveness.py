"""Runs whose process is gone: killed with the code server, by a power cut, or for want of memory.

Dagster learns of a run's end from its process or from the code server that started it; with both gone, the run stays
"started" until a time-out of hours, and the sensor would wait for it. So each run holds a lock on a file of its own,
which the kernel releases with the process, whatever ended it; no process id is compared, as those are used again. Runs
on Celery workers are looked after by their launcher, which asks the worker.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import dagster as dg
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from orchestration.tenancy import own_runs

UNLOCKED_SECONDS = 60.0
"""A run of a job that reads the CRM has its lock long before; one that was never submitted has none either."""
MOST_HELD = 8
KEPT_SECONDS = 2 * 86_400
GONE = "The run's process is gone. Nothing half done was published, and the next run goes on from what is committed."

_held: list[int] = []


@contextmanager
def held_by_run(home: Path, run_id: str) -> Iterator[None]:
    """Show that the run's process is alive; where no file can be written, the run's steps say so, not this."""
    path = _lock_path(home, run_id)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_old(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _held.append(descriptor)
    yield
    # Not released here: Dagster notes the run's success after this, and until then it would look like one without
    # process. A process that executes one run after another, as Celery workers do, gives up the oldest.
    while len(_held) > MOST_HELD:
        os.close(_held.pop(0))


def end_runs_without_process(instance: dg.DagsterInstance, home: Path, jobs: set[str], now: datetime) -> list[str]:
    """Report runs as failed whose process is gone; returns their ids.

    ``jobs``: those whose runs all take a lock, so that having none means something.
    """
    statuses = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    ended = []
    for record in instance.get_run_records(own_runs(statuses=statuses)):
        run = record.dagster_run
        begun = record.start_time or record.create_timestamp.timestamp()
        known = run.job_name in jobs and now.timestamp() - begun > UNLOCKED_SECONDS
        if DAGSTER_CELERY_TASK_ID_TAG in run.tags or not _gone(_lock_path(home, run.run_id), without_lock=known):
            continue
        # It may have ended well a moment ago; now that its process is gone, nothing more is coming.
        now_known = instance.get_run_by_id(run.run_id)
        if now_known is not None and now_known.status in statuses:
            instance.report_run_failed(run, GONE)
            ended.append(run.run_id)
    return ended


def _remove_old(folder: Path) -> None:
    """No run is as old as that; the file of a run that ended stays until then."""
    oldest = time.time() - KEPT_SECONDS
    for path in folder.iterdir():
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _gone(path: Path, without_lock: bool) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return without_lock
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _lock_path(home: Path, run_id: str) -> Path:
    return home / "run-locks" / run_id
