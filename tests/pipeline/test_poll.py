"""Edge cases of a poll: a gap longer than the log, unknown names, a budget that runs out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestration.crm.errors import CrmBudgetExhausted
from orchestration.pipeline.ingest import poll
from tests.pipeline.bench import CATALOG, Bench


@pytest.mark.parametrize(("days", "full_load"), [(24, False), (26, True)])
def test_only_a_gap_of_more_than_25_days_causes_a_full_load(bench: Bench, days: int, full_load: bool) -> None:
    bench.put("Account", "A", AccountName="renamed")
    bench.event("WriteRecordUpdated", "Account", "A")
    bench.crm.now += timedelta(days=days)
    if full_load:
        # The log no longer has the event.
        bench.crm.tables["ModificationTracking"].clear()
    result = poll(bench.open, bench.crm, CATALOG, bench.settings)
    assert result.full_load is full_load
    # Either way the result says how long the log was not read.
    assert days - 1 < result.unread / timedelta(days=1) < days + 1
    bench.hydrate()
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("renamed",)]
    assert not poll(bench.open, bench.crm, CATALOG, bench.settings).full_load


def test_unknown_events_are_stored_and_counted_and_their_rows_are_read(bench: Bench) -> None:
    bench.put("Account", "A", AccountName="seen")
    bench.event("SomethingNew", "Account", "A")
    bench.event("WriteRecordUpdated", "Picklist", "P")
    bench.later()
    result = poll(bench.open, bench.crm, CATALOG, bench.settings)
    assert result.events_by_kind == {"Account SomethingNew": 1, "Picklist WriteRecordUpdated": 1}
    assert result.unknown_objects == ("Picklist",)
    assert bench.query("SELECT object_name FROM modification_records ORDER BY 1") == [("Account",), ("Picklist",)]
    bench.hydrate()
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("seen",)]


def test_raw_payloads_are_kept_once_per_version(bench: Bench) -> None:
    for name in ("second", "second", "third"):
        bench.put("Account", "A", AccountName=name)
        bench.event("WriteRecordUpdated", "Account", "A")
        bench.sync()
    texts = "SELECT payload FROM raw_payloads WHERE object = 'account' AND row_id = 'A' ORDER BY read_at"
    kept = [payload for (payload,) in bench.query(texts)]
    assert len(kept) == 4
    assert all(name in payload for name, payload in zip(("A", "second", "second", "third"), kept, strict=True))
    bench.sync()
    assert [payload for (payload,) in bench.query(texts)] == kept


def test_the_next_run_continues_after_the_budget_was_exhausted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ("A", "B"):
        bench.put("Account", row, AccountName="renamed")
        bench.event("WriteRecordUpdated", "Account", row)

    def exhausted(*_: object) -> None:
        raise CrmBudgetExhausted("spent")

    with monkeypatch.context() as budget:
        budget.setattr(bench.crm, "read_ids", exhausted)
        with pytest.raises(CrmBudgetExhausted):
            bench.sync()
    assert bench.query("SELECT value FROM read_requests WHERE object = 'account' ORDER BY 1") == [("A",), ("B",)]
    bench.sync()
    assert bench.query("SELECT DISTINCT AccountName FROM snapshot.account") == [("renamed",)]
    assert bench.query("SELECT count(*) FROM read_requests") == [(0,)]
