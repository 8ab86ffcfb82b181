"""When to run: whenever the CRM has something that the last run did not see.

The sensor never opens the warehouse, which a run may hold; it goes by what the last run said of itself, as a hint. The
run reads the committed watermark again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import dagster as dg

from orchestration.catalog import load_catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.errors import CrmError
from orchestration.crm.settings import CrmSettings
from orchestration.due import SensorState, due_by_probe, due_by_untracked, due_without_asking, last_poll
from orchestration.jobs import census, full_load, sweep, sync
from orchestration.lag import observe_lag
from orchestration.liveness import end_runs_without_process
from orchestration.pipeline.wording import age_in_words
from orchestration.settings import PipelineSettings
from orchestration.stream import stream
from orchestration.tenancy import own_runs, require_location

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
LAG_TOLD_EACH_SECONDS = 60
USUAL_HEARTBEATS = 2
"""So far behind the CRM devices may be without a word, since a quiet CRM is read at each heartbeat only."""
READING_JOBS = (sync, full_load, sweep, census, stream)


@dg.sensor(
    jobs=[sync, full_load, stream],
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Launches sync when the CRM has something new and at each heartbeat; full_load without a watermark."
    " With SYNC_MODE=stream it keeps a run of stream going instead.",
)
def crm_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    if context.code_location_origin is not None:
        require_location(context.code_location_origin.location_name)
    settings = PipelineSettings.from_environment()
    now = datetime.now(UTC)
    due, state = _what_is_due(context.instance, settings, SensorState.parse(context.cursor), now)
    observed = None
    if abs(now.timestamp() - state.lag_told_at) >= LAG_TOLD_EACH_SECONDS:
        observed = observe_lag(context.instance, now, timedelta(seconds=USUAL_HEARTBEATS * settings.heartbeat_seconds))
        state = replace(state, lag_told_at=now.timestamp())
    return dg.SensorResult(
        run_requests=[due] if isinstance(due, dg.RunRequest) else None,
        skip_reason=due if isinstance(due, str) else None,
        cursor=state.dump(),
        asset_events=[observed] if observed else [],
    )


def _what_is_due(
    instance: dg.DagsterInstance, settings: PipelineSettings, state: SensorState, now: datetime
) -> tuple[dg.RunRequest | str, SensorState]:
    """A run to launch, or why there is none."""
    newest = newest_runs(instance)
    if any(record.dagster_run.status in IN_FLIGHT for record in newest):
        jobs = {job.name for job in READING_JOBS}
        if not end_runs_without_process(instance, settings.delta_home, jobs, now):
            return "a run is under way", state
        newest = newest_runs(instance)
        if any(record.dagster_run.status in IN_FLIGHT for record in newest):
            return "a run is under way", state
    if newest:
        record = max(newest, key=lambda one: one.create_timestamp)
        if record.dagster_run.status == dg.DagsterRunStatus.SUCCESS:
            state = state.after_success()
        else:
            state = state.after_failure(record.dagster_run.run_id, record.end_time or now.timestamp())
            if wait := state.waits(now.timestamp()):
                return f"the last run failed; next try in {wait:.0f} s{_read_until(instance, now)}", state
    last = last_poll(instance)
    due = due_without_asking(last, now, settings)
    if due is None and state.failures:
        due = sync.name, f"the last run failed, {state.failures} in a row"
    if settings.streaming and (due is None or due[0] == sync.name):
        due = stream.name, due[1] if due else "stream mode"
    if due is None:
        assert last is not None
        try:
            reason = due_by_probe(crm_client(), last)
            if reason is None:
                reason, state = due_by_untracked(crm_client(), load_catalog(), last, state, now)
        except CrmError as error:
            return f"the CRM cannot be asked: {error}{_read_until(instance, now)}", state
        if reason is None:
            return "nothing new in the CRM", state
        due = sync.name, reason
    job_name, reason = due
    # No run_key: it would keep a failed window from being asked for again.
    return dg.RunRequest(job_name=job_name, tags={"territory_delta/reason": reason}), state


def newest_runs(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The newest run of each job that reads the CRM."""
    return [record for job in READING_JOBS for record in instance.get_run_records(own_runs(job.name), limit=1)]


def _read_until(instance: dg.DagsterInstance, now: datetime) -> str:
    """How far behind the CRM devices are at this moment, for a sentence's end."""
    last = last_poll(instance)
    if last is None:
        return ""
    return f"; the CRM was read up to {last.watermark:%Y-%m-%d %H:%M:%S} UTC, {age_in_words(now - last.watermark)} ago"


@cache
def crm_client() -> CrmClient:
    """One client for the life of the code server: WSDLs are parsed once."""
    return CrmClient(CrmSettings.from_environment())
