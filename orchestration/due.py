"""Whether the CRM has something to read: what the sensor asks between runs, and the stream between polls."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import orjson

from orchestration.catalog import Catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.queries import MODIFICATION_TRACKING, Query, modified, stamp
from orchestration.jobs import full_load, sync
from orchestration.settings import PipelineSettings
from orchestration.tenancy import asset_key

UNTRACKED_PROBE_SECONDS = 60
RETRY_SECONDS = 15
MAX_RETRY_SECONDS = 300


@dataclass(frozen=True)
class LastPoll:
    """What the newest run said when it had read the log. Times are aware."""

    polled_at: datetime
    watermark: datetime
    probe_from: datetime
    probe_count: int
    full_load: bool


@dataclass(frozen=True)
class SensorState:
    """What the sensor remembers between ticks. Times are seconds since 1970."""

    retry_at: float = 0.0
    failures: int = 0
    failed_run: str = ""
    lag_told_at: float = 0.0
    untracked_at: float = 0.0
    untracked: dict[str, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None) -> SensorState:
        return cls(**orjson.loads(cursor)) if cursor else cls()

    def dump(self) -> str:
        return orjson.dumps(asdict(self)).decode()

    def after_failure(self, run_id: str, failed_at: float) -> SensorState:
        """Each failed run is counted once; the waits double."""
        if run_id == self.failed_run:
            return self
        wait = min(RETRY_SECONDS * 2**self.failures, MAX_RETRY_SECONDS)
        return replace(self, retry_at=failed_at + wait, failures=self.failures + 1, failed_run=run_id)

    def waits(self, now: float) -> float:
        """Seconds until the next try, 0 for now. A clock that stepped back makes no wait longer than any may be."""
        wait = self.retry_at - now
        return wait if 0 < wait <= MAX_RETRY_SECONDS else 0.0

    def after_success(self) -> SensorState:
        return replace(self, retry_at=0.0, failures=0, failed_run="")


def last_poll(instance: dg.DagsterInstance) -> LastPoll | None:
    """Read from the newest materialization of ``modification_records``."""
    event = instance.get_latest_materialization_event(asset_key("modification_records"))
    materialization = event.asset_materialization if event else None
    if event is None or materialization is None:
        return None
    values = {name: entry.value for name, entry in materialization.metadata.items()}

    def moment(name: str) -> datetime:
        return datetime.fromtimestamp(float(str(values[name])), UTC)

    return LastPoll(
        polled_at=datetime.fromtimestamp(event.timestamp, UTC),
        watermark=moment("watermark"),
        probe_from=moment("probe_from"),
        probe_count=int(str(values["probe_count"])),
        full_load=bool(values["full_load"]),
    )


def due_without_asking(last: LastPoll | None, now: datetime, settings: PipelineSettings) -> tuple[str, str] | None:
    """A job and the reason, where the clock alone says that it must run."""
    if last is None:
        return full_load.name, "nothing has been read yet"
    unpolled = now - last.polled_at
    # Not by the watermark: one that is too old by this host's clock, but not by the CRM's, stays so after a full load.
    if unpolled > timedelta(days=settings.reload_after_days):
        return full_load.name, f"the log was not read for more than {settings.reload_after_days} days"
    if last.full_load:
        return sync.name, "a full load has ended, and what changed meanwhile is to be read"
    # A reading that seems to lie ahead: this clock stepped back, or the worker's is ahead of it.
    if abs(unpolled) >= timedelta(seconds=settings.heartbeat_seconds):
        return sync.name, "heartbeat"
    return None


def due_by_probe(crm: CrmClient, last: LastPoll) -> str | None:
    """A reason to sync if the log, from the overlap on, holds another number of events than the last run found.

    A log that cannot be counted gives no reason: the heartbeat reads it, not one run after another.
    """
    there = crm.count(Query(MODIFICATION_TRACKING, modified(last.probe_from)))
    if there is None or there == last.probe_count:
        return None
    return f"events in the overlap: {there}, the last run saw {last.probe_count}"


def due_by_untracked(
    crm: CrmClient, catalog: Catalog, last: LastPoll, state: SensorState, now: datetime
) -> tuple[str | None, SensorState]:
    """Objects without events are counted by ModifiedDate, seldom; a count that moved since the same run is a reason."""
    if abs(now.timestamp() - state.untracked_at) < UNTRACKED_PROBE_SECONDS:
        return None, state
    since = stamp(last.probe_from)
    counts: dict[str, tuple[str, int]] = {}
    reason = None
    for obj in catalog:
        if obj.tracked:
            continue
        count = crm.count(Query(obj, modified(last.probe_from)))
        if count is None:
            continue
        counts[obj.name] = (since, count)
        before = state.untracked.get(obj.name)
        if before is not None and tuple(before) != (since, count) and before[0] == since:
            reason = f"{obj.name} rows changed"
    return reason, replace(state, untracked_at=now.timestamp(), untracked=counts)
