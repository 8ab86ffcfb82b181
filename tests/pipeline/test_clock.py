"""Clocks that step, leap or disagree: no event is skipped for one, and no run is launched for nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.crm.queries import Query
from orchestration.crm.services import Clock
from orchestration.due import LastPoll, due_by_probe
from orchestration.pipeline import ingest
from orchestration.pipeline.ingest import PollResult, poll
from orchestration.pipeline.preflight import Verdict, preflight
from orchestration.pipeline.warehouse import to_stored
from tests.pipeline.bench import CATALOG, Bench
from tests.pipeline.fake_crm import FakeCrm

SWAPPED = datetime(2027, 1, 2, 12, 0, tzinfo=UTC), datetime(2027, 2, 1, 12, 0, tzinfo=UTC)


class WrongClockCrm(FakeCrm):
    """Its clock is off by ``off``; its Date header is not, but may be missing."""

    off = timedelta(0)
    has_date = True

    def clock(self) -> Clock:
        said = self.now + self.off
        return Clock(said, timedelta(0), said, self.now if self.has_date else None)


@pytest.fixture
def crm(bench: Bench) -> WrongClockCrm:
    made = WrongClockCrm(bench.crm.now, bench.crm.tables)
    bench.crm = made
    bench.sync()
    return made


def edit(bench: Bench, name: str) -> None:
    bench.put("Account", "A", AccountName=name)
    bench.event("WriteRecordUpdated", "Account", "A")


def stored(bench: Bench) -> str:
    return str(bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'")[0][0])


def read(bench: Bench) -> PollResult:
    result = poll(bench.open, bench.crm, CATALOG, bench.settings)
    bench.hydrate()
    return result


def probe(bench: Bench, result: PollResult) -> str | None:
    """What the sensor's probe says after that reading."""
    assert result.probe_from is not None
    last = LastPoll(
        bench.crm.now,
        result.watermark.replace(tzinfo=UTC),
        result.probe_from.replace(tzinfo=UTC),
        result.probe_count,
        full_load=False,
    )
    return due_by_probe(bench.crm, last)


def test_events_after_a_step_back_of_more_than_the_overlap_are_read(bench: Bench, crm: WrongClockCrm) -> None:
    bench.crm.now -= timedelta(minutes=15)
    edit(bench, "after the step")
    bench.sync()
    assert stored(bench) == "after the step"


def test_events_of_a_step_back_are_read_after_a_pause_that_outlasts_it(bench: Bench, crm: WrongClockCrm) -> None:
    bench.crm.now -= timedelta(minutes=15)
    bench.sync()
    edit(bench, "while the clock was behind")
    # The next reading is late: by its own clock the CRM never was behind the watermark.
    bench.crm.now += timedelta(hours=2)
    bench.sync()
    assert stored(bench) == "while the clock was behind"


def test_events_of_a_step_back_that_no_reading_saw_are_read(
    bench: Bench, crm: WrongClockCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = {"now": to_stored(bench.crm.now)}
    monkeypatch.setattr(ingest, "utc_now", lambda: host["now"])
    bench.sync()
    # An hour passes; meanwhile the CRM's clock is put back by 30 minutes, and an account is edited right after that.
    host["now"] += timedelta(hours=1)
    bench.crm.now -= timedelta(minutes=25)
    edit(bench, "unseen")
    bench.crm.now += timedelta(minutes=55)
    assert read(bench).watermark > to_stored(bench.crm.now) - timedelta(minutes=5)
    assert stored(bench) == "unseen"


@pytest.mark.parametrize("off", [timedelta(hours=3), timedelta(minutes=-20), SWAPPED[1] - SWAPPED[0]])
def test_a_clock_that_its_answers_date_contradicts_moves_no_watermark(
    bench: Bench, crm: WrongClockCrm, off: timedelta
) -> None:
    before = read(bench).watermark
    crm.off = off
    bench.later()
    doubtful = read(bench)
    assert doubtful.watermark == before
    assert not doubtful.full_load
    assert "Date header" in doubtful.clock_doubt
    edit(bench, "meanwhile")
    crm.off = timedelta(0)
    bench.sync()
    assert stored(bench) == "meanwhile"
    bench.later()
    assert read(bench).watermark > before


def test_events_are_read_while_the_clock_is_not_believed(bench: Bench, crm: WrongClockCrm) -> None:
    crm.off = timedelta(hours=3)
    edit(bench, "seen all the same")
    bench.sync()
    assert stored(bench) == "seen all the same"


def test_a_leap_ahead_without_a_date_header_skips_nothing_once_it_is_over(bench: Bench, crm: WrongClockCrm) -> None:
    crm.has_date = False
    crm.off = timedelta(hours=3)
    bench.sync()
    crm.off = timedelta(0)
    bench.later()
    edit(bench, "by the right clock")
    result = read(bench)
    assert "behind the last watermark" in result.clock_doubt
    assert stored(bench) == "by the right clock"


def test_a_full_load_under_a_clock_with_day_and_month_swapped_begins_at_the_date_header(bench: Bench) -> None:
    crm = WrongClockCrm(SWAPPED[0], bench.crm.tables)
    crm.off = SWAPPED[1] - SWAPPED[0]
    bench.crm = crm
    bench.load()
    assert read(bench).watermark <= to_stored(SWAPPED[0])


def test_an_event_stamped_in_the_future_is_read_at_once_and_launches_nothing_afterwards(
    bench: Bench, crm: WrongClockCrm
) -> None:
    now = bench.crm.now
    bench.crm.now += timedelta(hours=1)
    edit(bench, "from the future")
    bench.crm.now = now
    bench.later()
    result = read(bench)
    assert stored(bench) == "from the future"
    assert probe(bench, result) is None
    bench.later()
    again = read(bench)
    assert (again.events_read, again.events_new) == (1, 0)
    assert probe(bench, again) is None


def test_events_that_another_program_took_out_of_a_deep_overlap_launch_nothing(
    bench: Bench, crm: WrongClockCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "READ_WITHOUT_COMPARING_EVENTS", 20)
    monkeypatch.setattr(ingest, "DEEPEST_WINDOW_EVENTS", 60)
    for _ in range(2):
        for _ in range(50):
            bench.event("WriteRecordUpdated", "Account", "A")
        bench.sync()
    log = crm.tables["ModificationTracking"]
    for event_id in list(log)[60:90]:
        del log[event_id]
    bench.later()
    assert probe(bench, read(bench)) is None


def test_a_log_that_cannot_be_counted_launches_nothing_by_that(bench: Bench, crm: WrongClockCrm) -> None:
    result = read(bench)

    class Uncountable(FakeCrm):
        def count(self, query: Query) -> int:
            return None  # type: ignore[return-value]

    bench.crm = Uncountable(crm.now)
    assert probe(bench, result) is None


def test_preflight_is_red_for_a_clock_off_its_date_or_behind_the_last_watermark(
    crm: WrongClockCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock(watermark: datetime | None = None) -> Verdict:
        findings = preflight(crm, CATALOG, crm.now, watermark)
        return next(finding.verdict for finding in findings if finding.subject == "clock")

    crm.tables["ServiceAllotment"] = {}
    monkeypatch.setattr(crm, "count", lambda query: 1)
    assert clock(crm.now) is Verdict.GOOD
    assert clock(crm.now + timedelta(hours=1)) is Verdict.BAD
    crm.off = timedelta(hours=3)
    assert clock() is Verdict.BAD
