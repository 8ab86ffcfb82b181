"""When to run: whenever the CRM has something that the last run did not see.

The sensor never opens the warehouse, which a run may hold; it goes by what the last run said of itself, as a hint. The
run reads the committed watermark again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import dagster as dg
import orjson

from orchestration.catalog import Catalog, load_catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.errors import CrmError
from orchestration.crm.queries import MODIFICATION_TRACKING, Query, modified, stamp
from orchestration.crm.settings import CrmSettings
from orchestration.jobs import census, full_load, sweep, sync
from orchestration.settings import PipelineSettings

UNTRACKED_PROBE_SECONDS = 60
RETRY_SECONDS = 15
MAX_RETRY_SECONDS = 300

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


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

    def after_success(self) -> SensorState:
        return replace(self, retry_at=0.0, failures=0, failed_run="")


def due_without_asking(last: LastPoll | None, now: datetime, settings: PipelineSettings) -> tuple[str, str] | None:
    """A job and the reason, where the clock alone says that it must run."""
    if last is None:
        return full_load.name, "nothing has been read yet"
    if now - last.watermark > timedelta(days=settings.reload_after_days):
        return full_load.name, f"the watermark is older than {settings.reload_after_days} days"
    if last.full_load:
        return sync.name, "a full load has ended, and what changed meanwhile is to be read"
    if now - last.polled_at >= timedelta(seconds=settings.overlap_seconds / 2):
        return sync.name, "heartbeat"
    return None


def due_by_probe(crm: CrmClient, last: LastPoll) -> str | None:
    """A reason to sync if the log, from the overlap on, holds another number of events than the last run found."""
    there = crm.count(Query(MODIFICATION_TRACKING, modified(last.probe_from)))
    if there == last.probe_count:
        return None
    return f"events in the overlap: {there}, the last run saw {last.probe_count}"


def due_by_untracked(
    crm: CrmClient, catalog: Catalog, last: LastPoll, state: SensorState, now: datetime
) -> tuple[str | None, SensorState]:
    """Objects without events are counted by ModifiedDate, seldom; a count that moved since the same run is a reason."""
    if now.timestamp() - state.untracked_at < UNTRACKED_PROBE_SECONDS:
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


@dg.sensor(
    jobs=[sync, full_load],
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Launches sync when the CRM has something new and at each heartbeat; full_load without a watermark.",
)
def crm_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    settings = PipelineSettings.from_environment()
    now = datetime.now(UTC)
    state = SensorState.parse(context.cursor)
    newest = [
        record
        for job in (sync, full_load, sweep, census)
        for record in context.instance.get_run_records(dg.RunsFilter(job_name=job.name), limit=1)
    ]
    if any(record.dagster_run.status in IN_FLIGHT for record in newest):
        return dg.SkipReason("a run is under way")
    if newest:
        record = max(newest, key=lambda one: one.create_timestamp)
        if record.dagster_run.status == dg.DagsterRunStatus.SUCCESS:
            state = state.after_success()
        else:
            state = state.after_failure(record.dagster_run.run_id, record.end_time or now.timestamp())
            if now.timestamp() < state.retry_at:
                wait = state.retry_at - now.timestamp()
                return dg.SensorResult(
                    skip_reason=f"the last run failed; next try in {wait:.0f} s", cursor=state.dump()
                )
    last = last_poll(context.instance)
    due = due_without_asking(last, now, settings)
    if due is None and state.failures:
        due = sync.name, f"the last run failed, {state.failures} in a row"
    if due is None:
        assert last is not None
        try:
            reason = due_by_probe(_crm(), last)
            if reason is None:
                reason, state = due_by_untracked(_crm(), load_catalog(), last, state, now)
        except CrmError as error:
            return dg.SensorResult(skip_reason=f"the CRM cannot be asked: {error}", cursor=state.dump())
        if reason is None:
            return dg.SensorResult(skip_reason="nothing new in the CRM", cursor=state.dump())
        due = sync.name, reason
    job_name, reason = due
    # No run_key: it would keep a failed window from being asked for again.
    request = dg.RunRequest(job_name=job_name, tags={"territory_delta/reason": reason})
    return dg.SensorResult(run_requests=[request], cursor=state.dump())


def last_poll(instance: dg.DagsterInstance) -> LastPoll | None:
    """Read from the newest materialization of ``modification_records``."""
    event = instance.get_latest_materialization_event(dg.AssetKey("modification_records"))
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


@cache
def _crm() -> CrmClient:
    """One client for the life of the code server: WSDLs are parsed once."""
    return CrmClient(CrmSettings.from_environment())
