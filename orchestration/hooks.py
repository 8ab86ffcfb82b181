"""Telling people of failed runs and held rows, by webhook.

An alert holds names, numbers and our own errors' messages, which hold no personal data; of any other error, its kind.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import httpx
import orjson

from orchestration.advice import ADVICE, HELD, NOTE, UNKNOWN, what_to_do
from orchestration.assets.held import NOTHING_HELD
from orchestration.settings import AlertSettings
from orchestration.tenancy import TENANT, is_own, own_runs

POST_TIMEOUT_SECONDS = 5.0
ALERTS_PER_TICK = 20
FAILURES_PER_TICK = 200
"""That are looked at: those of other tenants are passed over."""
SAY_AGAIN_AFTER = timedelta(hours=6)
"""A pod that is down fails a run each five minutes; people want to know of it once."""

_OURS = {kind.__name__: kind for kind in ADVICE if not issubclass(kind, dg.Failure | OSError)}


@dataclass(frozen=True)
class Cause:
    """What ended a run, as its events tell. ``kind`` is the name of an error class."""

    kind: str
    step: str
    message: str = ""

    @property
    def advice(self) -> str:
        kind = _OURS.get(self.kind)
        return what_to_do(kind) if kind else ADVICE[dg.Failure] if self.kind == "Failure" else UNKNOWN


@dataclass(frozen=True)
class Told:
    """A sensor's cursor: up to where failures were told, and when each kind of failure was told last (seconds)."""

    upto: str = ""
    at: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None) -> Told | None:
        return cls(**orjson.loads(cursor)) if cursor else None

    def dump(self) -> str:
        return orjson.dumps(asdict(self)).decode()


@dataclass(frozen=True)
class ToldHeld:
    """The cursor of the sensor for held rows: the check that was last looked at, how many rows were told of, and when.

    Times are seconds since 1970.
    """

    checked_at: float = 0.0
    rows: int = 0
    at: float = 0.0

    @classmethod
    def parse(cls, cursor: str | None) -> ToldHeld:
        return cls(**orjson.loads(cursor)) if cursor else cls()

    def dump(self) -> str:
        return orjson.dumps(asdict(self)).decode()


def cause_of(instance: dg.DagsterInstance, run_id: str) -> Cause:
    """From the first failed step; a run that was killed, or never started, has none."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        error = event.step_failure_data.error if event else None
        infos = []
        while error is not None:
            infos.append(error)
            error = error.cause
        ours = next((info for info in infos if info.cls_name in _OURS), None)
        if ours:
            message = ours.message.partition(": ")[2].partition(NOTE)[0]
            return Cause(str(ours.cls_name), entry.step_key or "", message.strip())
        return Cause(str(infos[-1].cls_name) if infos else "", entry.step_key or "")
    return Cause("", "")


def alert(settings: AlertSettings, run: dg.DagsterRun, cause: Cause, failed_at: float) -> dict[str, Any]:
    """The JSON that is posted."""
    return {
        "kind": "failed run",
        "run_id": run.run_id,
        **({"tenant": TENANT} if TENANT else {}),
        "job": run.job_name,
        "step": cause.step or None,
        "failed": cause.kind or "the run's process ended, or never started",
        "message": cause.message or None,
        "what_to_do": cause.advice,
        "at": datetime.fromtimestamp(failed_at, UTC).isoformat(timespec="seconds"),
        "url": f"{settings.ui_url}/runs/{run.run_id}" if settings.ui_url else None,
    }


def tell(context: dg.SensorEvaluationContext, now: datetime) -> dg.SensorResult | dg.SkipReason:
    """Post what failed since the last tick. What could not be posted is tried again at the next tick, in order."""
    settings = AlertSettings.from_environment()
    if settings.webhook_url is None:
        return dg.SkipReason("ALERT_WEBHOOK_URL is not set")
    instance = context.instance
    told = Told.parse(context.cursor)
    if told is None:
        newest = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1)
        return dg.SensorResult(skip_reason="failures from now on are told", cursor=Told(newest.cursor).dump())
    posted = 0
    for _ in range(FAILURES_PER_TICK):
        found = instance.fetch_run_status_changes(
            dg.DagsterEventType.RUN_FAILURE, limit=1, cursor=told.upto or None, ascending=True
        )
        if not found.records or posted == ALERTS_PER_TICK:
            break
        entry = found.records[0].event_log_entry
        run = instance.get_run_by_id(entry.run_id)
        cause = cause_of(instance, entry.run_id) if run and is_own(run) else None
        at = told.at
        if run and cause and not _told_lately(instance, told, run, cause, now):
            problem = _post(settings.webhook_url, alert(settings, run, cause, entry.timestamp))
            if problem:
                reason = f"{posted} alerts sent; the next could not be, and will be tried again: {problem}"
                return dg.SensorResult(skip_reason=reason, cursor=told.dump())
            posted += 1
            oldest = (now - SAY_AGAIN_AFTER).timestamp()
            at = {name: when for name, when in at.items() if when > oldest} | {_name(run, cause): now.timestamp()}
        told = Told(found.cursor, at)
    return dg.SensorResult(skip_reason=f"{posted} alerts sent", cursor=told.dump())


def _name(run: dg.DagsterRun, cause: Cause) -> str:
    return f"{run.job_name} {cause.step} {cause.kind}"


def _told_lately(instance: dg.DagsterInstance, told: Told, run: dg.DagsterRun, cause: Cause, now: datetime) -> bool:
    """Whether the same failure was told, and the job has not succeeded since."""
    when = told.at.get(_name(run, cause))
    if when is None or when <= (now - SAY_AGAIN_AFTER).timestamp():
        return False
    success = own_runs(run.job_name, [dg.DagsterRunStatus.SUCCESS], updated_after=datetime.fromtimestamp(when, UTC))
    return not instance.get_run_records(success, limit=1)


@dataclass(frozen=True)
class Checked:
    """A check of what is held; ``at`` is in seconds since 1970."""

    run: dg.DagsterRun
    result: dg.AssetCheckEvaluation
    at: float

    @property
    def numbers(self) -> dict[str, Any]:
        return {name: entry.value for name, entry in self.result.metadata.items()}

    @property
    def rows(self) -> int:
        return int(self.numbers["held_rows"])


def held_alert(settings: AlertSettings, checked: Checked) -> dict[str, Any]:
    """The JSON that is posted when rows are held."""
    check = f"assets/{'/'.join(NOTHING_HELD.asset_key.path)}?view=checks&checkDetail={NOTHING_HELD.name}"
    return {
        "kind": "held rows",
        "run_id": checked.run.run_id,
        **({"tenant": TENANT} if TENANT else {}),
        "job": checked.run.job_name,
        "rows": checked.rows,
        "territories": checked.numbers["held_territories"],
        "held_since": checked.numbers["held_since"],
        "message": checked.result.description,
        "what_to_do": HELD,
        "url": f"{settings.ui_url}/{check}" if settings.ui_url else None,
    }


def tell_held_rows(context: dg.SensorEvaluationContext, now: datetime) -> dg.SensorResult | dg.SkipReason:
    """Post that rows are held: when that begins, when there are more of them, and again each six hours."""
    settings = AlertSettings.from_environment()
    if settings.webhook_url is None:
        return dg.SkipReason("ALERT_WEBHOOK_URL is not set")
    told = ToldHeld.parse(context.cursor)
    newest = _newest_check(context.instance)
    if newest is None or newest.at == told.checked_at:
        return dg.SkipReason("nothing new was checked")
    rows = newest.rows
    if not rows:
        return dg.SensorResult(skip_reason="nothing is held", cursor=ToldHeld(newest.at).dump())
    due = rows > told.rows or now.timestamp() >= told.at + SAY_AGAIN_AFTER.total_seconds()
    if due:
        problem = _post(settings.webhook_url, held_alert(settings, newest))
        if problem:
            return dg.SkipReason(f"the alert could not be sent, and will be tried again: {problem}")
    at = now.timestamp() if due else told.at
    return dg.SensorResult(skip_reason=f"{rows} rows are held", cursor=ToldHeld(newest.at, rows, at).dump())


def _newest_check(instance: dg.DagsterInstance) -> Checked | None:
    """Where the newest run that checks this has not come to it yet, there is nothing to tell."""
    record = instance.get_latest_asset_check_evaluation_record(NOTHING_HELD.key)
    event = record.event.dagster_event if record and record.event else None
    result = event.event_specific_data if event else None
    run = instance.get_run_by_id(record.run_id) if record else None
    if record is None or record.event is None or run is None or not isinstance(result, dg.AssetCheckEvaluation):
        return None
    return Checked(run, result, record.event.timestamp)


def _post(url: str, body: dict[str, Any]) -> str | None:
    """What went wrong, without the URL, which is a secret with most receivers."""
    try:
        answer = httpx.post(url, json=body, timeout=POST_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    return None if answer.is_success else f"the webhook answered {answer.status_code}"


# Off costs nothing, and setting the variable is all that it takes to switch them on.
_STATUS = (
    dg.DefaultSensorStatus.RUNNING if AlertSettings.from_environment().webhook_url else dg.DefaultSensorStatus.STOPPED
)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=_STATUS,
    description="Posts each failed run to ALERT_WEBHOOK_URL; one that fails again in the same way, each six hours.",
)
def alert_failed_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    return tell(context, datetime.now(UTC))


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=_STATUS,
    description="Posts to ALERT_WEBHOOK_URL that the guard holds rows: at once, when it holds more, each six hours.",
)
def alert_held_publications(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    return tell_held_rows(context, datetime.now(UTC))
