"""Alerts, sent to a local receiver: what they contain, what they must not contain, and that none is lost."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from orchestration.advice import advised
from orchestration.assets.held import NOTHING_HELD, tell_held
from orchestration.crm.errors import CrmCredentialsError, CrmUnavailable
from orchestration.hooks import Told, alert_failed_runs, alert_held_publications, tell, tell_held_rows
from tests.orchestration.alerts import Receiver, SensorTicks

ERRORS = {
    "credentials": CrmCredentialsError("the CRM did not accept the user name and password"),
    "down": CrmUnavailable("HTTP 503"),
    "bug": ValueError("Mary Jones, +49 170 1234567"),
    "none": None,
}


class Fate(dg.Config):
    error: str


@dg.op
@advised
def read(config: Fate) -> None:
    error = ERRORS[config.error]
    if error is not None:
        raise error


@dg.job
def sync() -> None:
    read()


def run(instance: dg.DagsterInstance, error: str) -> str:
    config = {"ops": {"read": {"config": {"error": error}}}}
    return sync.execute_in_process(run_config=config, instance=instance, raise_on_error=False).run_id


@pytest.fixture
def failures(instance: dg.DagsterInstance, receiver: Receiver) -> SensorTicks:
    return SensorTicks(alert_failed_runs, instance)


def test_a_failed_run_is_alerted_with_advice_and_a_link(
    failures: SensorTicks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    run_id = run(instance, "credentials")
    failures.tick()
    (body,) = receiver.bodies
    assert body.pop("at").startswith(str(datetime.now(UTC).year))
    assert "CRMOD_PASSWORD" in body.pop("what_to_do")
    assert body == {
        "kind": "failed run",
        "run_id": run_id,
        "job": "sync",
        "step": "read",
        "failed": "CrmCredentialsError",
        "message": "the CRM did not accept the user name and password",
        "url": f"https://dagster.example/runs/{run_id}",
    }


class Held(dg.Config):
    rows: int


@dg.op
def publish(context: dg.OpExecutionContext, config: Held) -> None:
    result = dg.AssetCheckResult(
        passed=not config.rows,
        asset_key=NOTHING_HELD.asset_key,
        check_name=NOTHING_HELD.name,
        metadata={"held_rows": config.rows, "held_territories": 1, "held_since": "2026-11-24 06:00:00 UTC"},
        description=f"North 1 (T1): {config.rows} of 100 rows held" if config.rows else None,
    )
    tell_held(context, result)


@dg.job
def publishing() -> None:
    publish()


def hold(instance: dg.DagsterInstance, rows: int) -> str:
    config = {"ops": {"publish": {"config": {"rows": rows}}}}
    return publishing.execute_in_process(run_config=config, instance=instance).run_id


def test_held_rows_are_told_by_a_sensor_of_their_own(
    failures: SensorTicks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    held = SensorTicks(alert_held_publications, instance)
    run_id = hold(instance, 60)
    failures.tick()
    held.tick()
    (body,) = receiver.bodies
    assert "release_held_publication" in body.pop("what_to_do")
    assert body == {
        "kind": "held rows",
        "run_id": run_id,
        "job": "publishing",
        "rows": 60,
        "territories": 1,
        "held_since": "2026-11-24 06:00:00 UTC",
        "message": "North 1 (T1): 60 of 100 rows held",
        "url": "https://dagster.example/assets/territory_deltas?view=checks&checkDetail=nothing_held",
    }
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags["held"] == "60"


def test_held_rows_are_told_again_when_there_are_more_and_after_six_hours(
    instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    held = SensorTicks(alert_held_publications, instance)
    for rows, told in ((60, 1), (60, 1), (40, 1), (90, 2), (0, 2), (10, 3)):
        hold(instance, rows)
        held.tick()
        held.tick()
        assert len(receiver.bodies) == told, rows
    hold(instance, 10)
    with dg.build_sensor_context(instance=instance, cursor=held.cursor) as context:
        tell_held_rows(context, datetime.now(UTC) + timedelta(hours=6, seconds=1))
    assert len(receiver.bodies) == 4


def test_alerts_do_not_contain_messages_of_unknown_errors(
    failures: SensorTicks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "bug")
    failures.tick()
    (body,) = receiver.bodies
    assert body["failed"] == "ValueError"
    assert "Jones" not in json.dumps(body)


def test_alerts_that_could_not_be_posted_are_posted_later_in_order(
    failures: SensorTicks, instance: dg.DagsterInstance, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(instance, "down")
    run(instance, "credentials")
    receiver.status = 503
    failures.tick()
    assert "the webhook answered 503" in failures.reason
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "http://127.0.0.1:9/secret-part")
    failures.tick()
    assert "ConnectError" in failures.reason
    assert "secret-part" not in failures.reason
    monkeypatch.setenv("ALERT_WEBHOOK_URL", receiver.url)
    receiver.status = 200
    failures.tick()
    failures.tick()
    assert [body["failed"] for body in receiver.bodies] == ["CrmUnavailable", "CrmCredentialsError"]


def test_a_repeated_failure_is_alerted_once_in_six_hours_or_again_after_a_success(
    failures: SensorTicks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    for _ in range(3):
        run(instance, "down")
        failures.tick()
    assert len(receiver.bodies) == 1
    told = Told.parse(failures.cursor)
    assert told is not None
    run(instance, "down")
    with dg.build_sensor_context(instance=instance, cursor=failures.cursor) as context:
        tell(context, datetime.now(UTC) + timedelta(hours=6, seconds=1))
    assert len(receiver.bodies) == 2
    failures.tick()
    run(instance, "none")
    run(instance, "down")
    failures.tick()
    assert len(receiver.bodies) == 3


def test_failures_before_the_sensor_started_are_not_alerted(instance: dg.DagsterInstance, receiver: Receiver) -> None:
    run(instance, "down")
    failures = SensorTicks(alert_failed_runs, instance)
    failures.tick()
    assert receiver.bodies == []


def test_without_a_webhook_the_alert_sensors_skip_with_a_reason(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALERT_WEBHOOK_URL", raising=False)
    for sensor in (alert_failed_runs, alert_held_publications):
        assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
        assert SensorTicks(sensor, instance).reason == "ALERT_WEBHOOK_URL is not set"


def test_the_log_of_a_failed_step_contains_advice_once(instance: dg.DagsterInstance) -> None:
    run_id = run(instance, "down")
    said = [entry.user_message for entry in instance.all_logs(run_id) if "What to do" in entry.user_message]
    assert len(said) == 1
    assert "Wait: the sensor tries again" in said[0]
