"""Quarantine keeps content, not place: only what cannot be read keeps its last good value."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from orchestration.crm.client import Found
from orchestration.crm.rows import Defect
from tests.pipeline.guarded import GuardedPipeline

CLOSE = date(2026, 12, 1)
DUE = datetime(2026, 12, 2, 8, 0, 0, tzinfo=UTC)


@pytest.fixture
def pipeline(tmp_path: Path) -> GuardedPipeline:
    made = GuardedPipeline(tmp_path)
    for name in ("OPP", "OTHER"):
        made.put("Opportunity", name, AccountId="T1-00", OpportunityName="good", CloseDate=CLOSE)
    links = {"ListOfAccount": ("T1-00", "T2-00")}
    for name in ("CON", "WITNESS"):
        made.put("Contact", name, AccountId="T1-00", ContactFirstName="good", _links=links)
    made.tell("Opportunity", ["OPP", "OTHER"])
    made.tell("Contact", ["CON", "WITNESS"])
    made.run()
    return made


def spoil(pipeline: GuardedPipeline, row_id: str, *names: str) -> None:
    """From now on these fields and lists of the row cannot be understood; nobody else's."""
    pipeline.crm.unreadable[row_id] = frozenset(names)


def quarantined(pipeline: GuardedPipeline) -> set[tuple[str, ...]]:
    return set(pipeline.query("SELECT object, row_id, field FROM quarantine"))


def test_a_row_with_one_bad_value_moves_with_its_parent_and_keeps_that_value(pipeline: GuardedPipeline) -> None:
    spoil(pipeline, "OPP", "CloseDate")
    pipeline.put("Opportunity", "OPP", AccountId="T2-00", OpportunityName="edited", CloseDate=None)
    pipeline.tell("Opportunity", ["OPP"])
    pipeline.run()
    assert pipeline.visible("T1", "opportunity") == {"OTHER"}
    assert pipeline.visible("T2", "opportunity") == {"OPP"}
    kept = "SELECT OpportunityName, CloseDate FROM snapshot.opportunity WHERE row_id = 'OPP'"
    assert pipeline.query(kept) == [("edited", CLOSE)]
    assert quarantined(pipeline) == {("opportunity", "OPP", "CloseDate")}
    # Mended, it is as any other row.
    pipeline.crm.unreadable.clear()
    pipeline.put("Opportunity", "OPP", CloseDate=date(2027, 1, 1))
    pipeline.tell("Opportunity", ["OPP"])
    pipeline.run()
    assert pipeline.query(kept) == [("edited", date(2027, 1, 1))]


def test_a_row_with_one_bad_value_loses_access_that_it_lost(pipeline: GuardedPipeline) -> None:
    """One more example: a contact that is unlinked from an account while its name is damaged."""
    spoil(pipeline, "CON", "ContactFirstName")
    pipeline.put("Contact", "CON", _links={"ListOfAccount": ("T1-00",)})
    pipeline.tell("Contact", ["CON"])
    pipeline.run()
    assert pipeline.visible("T2", "contact") == {"WITNESS"}
    assert pipeline.query("SELECT ContactFirstName FROM snapshot.contact WHERE row_id = 'CON'") == [("good",)]


def test_a_place_that_cannot_be_read_is_the_last_good_one(pipeline: GuardedPipeline) -> None:
    spoil(pipeline, "OPP", "AccountId")
    spoil(pipeline, "CON", "ListOfAccount")
    pipeline.put("Opportunity", "OPP", AccountId=None, OpportunityName="edited")
    pipeline.put("Contact", "CON", ContactFirstName="edited", _links={"ListOfAccount": ()})
    pipeline.tell("Opportunity", ["OPP"])
    pipeline.tell("Contact", ["CON"])
    pipeline.run()
    assert pipeline.visible("T1", "opportunity") == {"OPP", "OTHER"}
    assert pipeline.visible("T2", "contact") == {"CON", "WITNESS"}
    assert pipeline.query("SELECT OpportunityName FROM snapshot.opportunity WHERE row_id = 'OPP'") == [("edited",)]
    assert pipeline.query("SELECT ContactFirstName FROM snapshot.contact WHERE row_id = 'CON'") == [("edited",)]
    assert pipeline.query("SELECT count(*) FROM doubtful_reading") == [(0,)]


def test_a_new_row_with_one_bad_value_is_served_without_it(pipeline: GuardedPipeline) -> None:
    spoil(pipeline, "NEW", "CloseDate")
    pipeline.put("Opportunity", "NEW", AccountId="T3-00", OpportunityName="new", CloseDate=None)
    pipeline.tell("Opportunity", ["NEW"])
    pipeline.run()
    assert pipeline.visible("T3", "opportunity") == {"NEW"}
    assert pipeline.query("SELECT CloseDate FROM snapshot.opportunity WHERE row_id = 'NEW'") == [(None,)]


def test_a_time_keeps_its_last_good_value_in_utc(pipeline: GuardedPipeline) -> None:
    pipeline.put("Activity", "ACT", AccountId="T1-00", DueDate=CLOSE, StartTime=DUE)
    pipeline.tell("Activity", ["ACT"])
    pipeline.run()
    spoil(pipeline, "ACT", "StartTime")
    pipeline.put("Activity", "ACT", AccountId="T2-00", StartTime=None)
    pipeline.tell("Activity", ["ACT"])
    pipeline.run()
    assert pipeline.query("SELECT StartTime FROM snapshot.activity") == [(DUE.replace(tzinfo=None),)]
    assert pipeline.visible("T2", "activity") == {"ACT"}


def test_a_row_put_aside_whole_stays_as_it_is(pipeline: GuardedPipeline) -> None:
    defect = Defect("opportunity", "OPP", "Id", "given twice")
    pipeline.crm.read_ids = lambda *_: Found([], [defect])  # type: ignore[method-assign]
    pipeline.tell("Opportunity", ["OPP"])
    pipeline.run()
    assert pipeline.visible("T1", "opportunity") == {"OPP", "OTHER"}
    assert quarantined(pipeline) == {("opportunity", "OPP", "Id")}
