"""Forgetting old runs, so that a run each 15 s does not fill the disk. Dagster itself keeps all runs for ever.

Deleting a run takes its events along, and with them what Dagster knows of an asset, a partition or a check. So the run
that said the last word about any of these stays, whatever its age.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

# Dagster has no public way to clean up what delete_run leaves behind.
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from sqlalchemy import bindparam, text

from orchestration.assets.policy import PUBLICATION_TAG
from orchestration.settings import RunRetention
from orchestration.tenancy import own_runs

RUNS_PER_PAGE = 1000
PAGE_BYTES = 1024
"""Each run has an SQLite file of its own with 28 nearly empty tables and indexes, of one page each at least."""

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

_LAST_WORDS = text(
    "SELECT run_id FROM event_logs WHERE id IN (SELECT max(id) FROM event_logs"
    " WHERE dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')"
    " GROUP BY asset_key, partition, dagster_event_type)"
    " UNION SELECT run_id FROM asset_check_executions WHERE id IN (SELECT max(id) FROM asset_check_executions"
    " WHERE execution_status <> 'PLANNED' GROUP BY asset_key, check_name)"
)
_CHECKS_OF_RUNS = text("DELETE FROM asset_check_executions WHERE run_id IN :run_ids").bindparams(
    bindparam("run_ids", expanding=True)
)
_TAGS_WITHOUT_RUN = text("DELETE FROM run_tags WHERE run_id NOT IN (SELECT run_id FROM runs)")


@dataclass(frozen=True)
class EndedRun:
    """A run that is over. ``routine``: a sensor or schedule launched it; ``quiet``: it did so for nothing."""

    run_id: str
    job: str
    created_at: datetime
    routine: bool
    quiet: bool

    @property
    def kind(self) -> str:
        return "quiet" if self.quiet else "routine" if self.routine else "operator"


@dataclass(frozen=True)
class Pruned:
    """What was forgotten: runs by kind; and how many event files of kept runs were made smaller."""

    runs: Counter[str]
    kept: int
    files_shrunk: int


def prune(instance: dg.DagsterInstance, retention: RunRetention, now: datetime) -> Pruned:
    """Forget what is due at ``now`` (aware); a run that has not ended is never touched."""
    runs = list(ended_runs(instance))
    due = due_runs(runs, runs_with_last_word(instance), retention, now)
    for start in range(0, len(due), RUNS_PER_PAGE):
        _forget(instance, [run.run_id for run in due[start : start + RUNS_PER_PAGE]])
    _remove_leftovers(instance)
    files = _event_files(_events(instance))
    shrunk = sum(_shrink(files[run.run_id]) for run in runs if run.run_id in files)
    return Pruned(Counter(run.kind for run in due), len(runs) - len(due), shrunk)


def due_runs(runs: Iterable[EndedRun], last_words: set[str], retention: RunRetention, now: datetime) -> list[EndedRun]:
    """Which runs to forget. ``runs`` come newest first; the newest of each job stay, as do those with a last word."""
    of_job: Counter[str] = Counter()
    routine = 0
    due = []
    for run in runs:
        of_job[run.job] += 1
        routine += run.routine
        days = {"quiet": retention.quiet_days, "routine": retention.routine_days, "operator": retention.operator_days}
        too_old = now - run.created_at > timedelta(days=days[run.kind])
        too_many = run.routine and routine > retention.routine_max
        if (too_old or too_many) and of_job[run.job] > retention.newest_of_each_job and run.run_id not in last_words:
            due.append(run)
    return due


def ended_runs(instance: dg.DagsterInstance) -> Iterator[EndedRun]:
    """All of this tenant's runs that are over, newest first."""
    cursor = None
    while records := instance.get_run_records(own_runs(statuses=ENDED), limit=RUNS_PER_PAGE, cursor=cursor):
        for record in records:
            run = record.dagster_run
            routine = "dagster/sensor_name" in run.tags or "dagster/schedule_name" in run.tags
            succeeded = run.status is dg.DagsterRunStatus.SUCCESS
            yield EndedRun(
                run_id=run.run_id,
                job=run.job_name,
                created_at=record.create_timestamp.astimezone(UTC),
                routine=routine,
                quiet=routine and succeeded and PUBLICATION_TAG not in run.tags,
            )
        cursor = records[-1].dagster_run.run_id


def runs_with_last_word(instance: dg.DagsterInstance) -> set[str]:
    """Runs that last materialized or observed an asset or one of its partitions, or last evaluated a check."""
    with _events(instance).index_connection() as connection:
        return {run_id for (run_id,) in connection.execute(_LAST_WORDS)}


def _forget(instance: dg.DagsterInstance, run_ids: list[str]) -> None:
    with _events(instance).index_connection() as connection:
        connection.execute(_CHECKS_OF_RUNS, {"run_ids": run_ids})
    for run_id in run_ids:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)


def _remove_leftovers(instance: dg.DagsterInstance) -> None:
    """What deleted runs leave behind on SQLite: their tags, and the file of events that each had for itself."""
    events, runs = _events(instance), instance.run_storage
    # Files first: a run is in the table before it has a file.
    files = _event_files(events)
    assert isinstance(runs, SqlRunStorage)
    with runs.connect() as connection:
        connection.execute(_TAGS_WITHOUT_RUN)
        known = {run_id for (run_id,) in connection.execute(text("SELECT run_id FROM runs"))}
    for run_id, path in files.items():
        if run_id not in known:
            for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                name.unlink(missing_ok=True)


def _event_files(events: SqlEventLogStorage) -> dict[str, Path]:
    """The file that SQLite storage keeps for each run; other storages have none."""
    if not isinstance(events, SqliteEventLogStorage):
        return {}
    return {run_id: Path(events.path_for_shard(run_id)) for run_id in events.get_all_run_ids()}


def _shrink(path: Path) -> bool:
    """Write an ended run's file anew with small pages, once. A file in use stays as it is until the next time."""
    with path.open("rb") as file:
        page_bytes = int.from_bytes(file.read(18)[16:])
    if page_bytes == PAGE_BYTES:
        return False
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            # The page size can be changed outside WAL mode only; Dagster's own mode comes back at the end.
            for pragma in ("journal_mode = DELETE", f"page_size = {PAGE_BYTES}"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("VACUUM")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
    except sqlite3.OperationalError:
        return False
    return True


def _events(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    events = instance.event_log_storage
    assert isinstance(events, SqlEventLogStorage)
    return events
