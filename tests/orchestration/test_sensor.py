"""When the sensor launches a run, with a real (ephemeral) instance and a CRM that can only count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestration import sensors
from orchestration.catalog import load_catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.errors import CrmUnavailable
from orchestration.crm.queries import Query
from orchestration.definitions import defs
from orchestration.due import LastPoll, SensorState, due_by_untracked, due_without_asking
from orchestration.sensors import crm_changes
from orchestration.settings import PipelineSettings

SETTINGS = PipelineSettings(Path("unused"))
NOW = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)


class CountingCrm(CrmClient):
    """The client without its sessions, where only rows can be counted."""

    def __init__(self) -> None:
        self.counts: dict[str, int | None] = {"ModificationTracking": 3, "Order": 5, "Territory": 2}
        self.down = False
        self.asked = 0

    def count(self, query: Query) -> int | None:
        self.asked += 1
        if self.down:
            raise CrmUnavailable("the CRM does not answer")
        return self.counts[query.object.service]


@pytest.fixture
def crm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CountingCrm:
    made = CountingCrm()
    monkeypatch.setattr(sensors, "crm_client", lambda: made)
    monkeypatch.setenv("DELTA_HOME", str(tmp_path))
    return made


def polled(instance: dg.DagsterInstance, probe_count: int = 3, full_load: bool = False) -> None:
    watermark = datetime.now(UTC)
    metadata = {
        "watermark": dg.MetadataValue.timestamp(watermark),
        "probe_from": dg.MetadataValue.timestamp(watermark - timedelta(seconds=600)),
        "probe_count": dg.MetadataValue.int(probe_count),
        "full_load": dg.MetadataValue.bool(full_load),
    }
    instance.report_runless_asset_event(dg.AssetMaterialization("modification_records", metadata=metadata))


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    with dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs) as context:
        result = crm_changes(context)
    assert isinstance(result, dg.SensorResult)
    return result


def launched(result: dg.SensorResult) -> list[str | None]:
    return [request.job_name for request in result.run_requests or []]


def run_of(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    return instance.create_run_for_job(defs.resolve_job_def("sync"), status=status)


def test_without_any_earlier_poll_the_sensor_launches_a_full_load(
    instance: dg.DagsterInstance, crm: CountingCrm
) -> None:
    assert launched(tick(instance)) == ["full_load"]


def test_an_unchanged_crm_launches_nothing_and_costs_few_queries(
    instance: dg.DagsterInstance, crm: CountingCrm
) -> None:
    polled(instance)
    first = tick(instance)
    assert launched(first) == []
    crm.asked = 0
    assert launched(tick(instance, first.cursor)) == []
    assert crm.asked == 1


def lags_seconds(result: dg.SensorResult) -> list[float]:
    """What the tick told of the lag behind the CRM."""
    observed = [event for event in result.asset_events if isinstance(event, dg.AssetObservation)]
    return [float(str(event.metadata["crm_lag_seconds"].value)) for event in observed]


def test_the_lag_grows_while_the_crm_is_down_and_while_a_run_is_under_way(
    instance: dg.DagsterInstance, crm: CountingCrm
) -> None:
    polled(instance)
    crm.down = True
    assert lags_seconds(tick(instance)) == []
    as_of = datetime.now(UTC) - timedelta(minutes=20)
    published = {"as_of": dg.MetadataValue.timestamp(as_of), "crm_lag_seconds": dg.MetadataValue.float(5.0)}
    instance.report_runless_asset_event(dg.AssetMaterialization("territory_deltas", metadata=published))
    while_down = tick(instance)
    assert lags_seconds(while_down) == [pytest.approx(1200, abs=60)]
    run_of(instance, dg.DagsterRunStatus.STARTED)
    assert lags_seconds(tick(instance)) == [pytest.approx(1200, abs=60)]
    # Not at each tick: an event is kept for each time it is told.
    assert lags_seconds(tick(instance, while_down.cursor)) == []


def test_a_changed_count_of_events_in_the_overlap_launches_a_sync(
    instance: dg.DagsterInstance, crm: CountingCrm
) -> None:
    polled(instance)
    for count in (4, 2):
        crm.counts["ModificationTracking"] = count
        assert launched(tick(instance)) == ["sync"]


def test_while_a_run_is_under_way_the_crm_is_not_asked(instance: dg.DagsterInstance, crm: CountingCrm) -> None:
    polled(instance, probe_count=0)
    run_of(instance, dg.DagsterRunStatus.STARTED)
    assert launched(tick(instance)) == []
    assert crm.asked == 0


def test_a_failed_run_is_retried_with_growing_pauses_and_each_failure_counts_once() -> None:
    state = SensorState().after_failure("run 1", failed_at=100.0)
    assert state.retry_at == 115.0
    assert state.after_failure("run 1", failed_at=100.0) == state
    state = state.after_failure("run 2", failed_at=200.0)
    assert state.retry_at == 230.0
    for number in range(3, 12):
        state = state.after_failure(f"run {number}", failed_at=1000.0)
    assert state.retry_at == 1300.0
    assert state.after_success().failures == 0


def test_a_failed_run_is_retried_although_the_log_has_nothing_new(
    instance: dg.DagsterInstance, crm: CountingCrm
) -> None:
    polled(instance)
    run_of(instance, dg.DagsterRunStatus.FAILURE)
    waiting = tick(instance)
    assert launched(waiting) == []
    assert waiting.cursor is not None
    state = SensorState.parse(waiting.cursor)
    due = SensorState(0.0, state.failures, state.failed_run)
    assert launched(tick(instance, due.dump())) == ["sync"]


def test_the_sensor_skips_while_the_crm_is_down(instance: dg.DagsterInstance, crm: CountingCrm) -> None:
    polled(instance)
    crm.down = True
    result = tick(instance)
    assert launched(result) == []
    assert result.skip_reason is not None
    assert "cannot be asked" in str(result.skip_reason.skip_message)


def test_in_stream_mode_the_sensor_keeps_one_stream_running(
    instance: dg.DagsterInstance, crm: CountingCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_MODE", "stream")
    assert launched(tick(instance)) == ["full_load"]
    polled(instance)
    assert launched(tick(instance)) == ["stream"]
    polled(instance, probe_count=0)
    assert launched(tick(instance)) == ["stream"]
    instance.create_run_for_job(defs.resolve_job_def("stream"), status=dg.DagsterRunStatus.STARTED)
    assert launched(tick(instance)) == []


def test_a_log_not_read_for_26_days_asks_for_a_full_load() -> None:
    last = LastPoll(NOW, NOW, NOW, 0, full_load=False)
    assert due_without_asking(last, NOW + timedelta(days=24), SETTINGS) == ("sync", "heartbeat")
    due = due_without_asking(last, NOW + timedelta(days=26), SETTINGS)
    assert due is not None
    assert due[0] == "full_load"


def test_a_full_load_is_followed_by_a_sync(instance: dg.DagsterInstance, crm: CountingCrm) -> None:
    polled(instance, full_load=True)
    assert launched(tick(instance)) == ["sync"]


def test_a_heartbeat_is_due_twice_per_overlap() -> None:
    last = LastPoll(NOW, NOW, NOW, 0, full_load=False)
    assert due_without_asking(last, NOW + timedelta(seconds=299), SETTINGS) is None
    assert due_without_asking(last, NOW + timedelta(seconds=301), SETTINGS) == ("sync", "heartbeat")


def test_untracked_objects_are_counted_once_a_minute_and_a_changed_count_launches_a_sync(crm: CountingCrm) -> None:
    last = LastPoll(NOW, NOW, NOW, 0, full_load=False)
    catalog = load_catalog()
    reason, state = due_by_untracked(crm, catalog, last, SensorState(), NOW)
    assert reason is None
    crm.counts["Order"] = 6
    assert due_by_untracked(crm, catalog, last, state, NOW + timedelta(seconds=30))[0] is None
    state = SensorState.parse(state.dump())
    reason, _ = due_by_untracked(crm, catalog, last, state, NOW + timedelta(seconds=61))
    assert reason == "order rows changed"
