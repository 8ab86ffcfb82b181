"""A host whose clock steps keeps syncing, and launches nothing again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.due import LastPoll, SensorState, due_without_asking
from orchestration.settings import PipelineSettings

SETTINGS = PipelineSettings(Path("unused"))
NOW = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)


def test_a_host_a_month_ahead_of_the_crm_does_not_load_everything_after_each_load() -> None:
    ahead = NOW + timedelta(days=30)
    just_polled = LastPoll(ahead, NOW, NOW - timedelta(minutes=10), 0, full_load=False)
    assert due_without_asking(just_polled, ahead + timedelta(seconds=5), SETTINGS) is None


def test_a_host_whose_clock_stepped_back_still_has_a_heartbeat() -> None:
    polled = LastPoll(NOW, NOW, NOW, 0, full_load=False)
    assert due_without_asking(polled, NOW - timedelta(hours=3), SETTINGS) == ("sync", "heartbeat")


@pytest.mark.parametrize(("now", "seconds"), [(1000.0, 15.0), (1015.0, 0.0), (-9000.0, 0.0)])
def test_the_wait_after_a_failure_is_bounded_whatever_the_clock_does(now: float, seconds: float) -> None:
    assert SensorState().after_failure("run", failed_at=1000.0).waits(now) == seconds
