"""The log's edges as a poll meets them: a lapse too long for it, names nobody knows, a budget that ends in between."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest

from orchestration.catalog import load_catalog
from orchestration.crm.client import Found
from orchestration.crm.errors import CrmBudgetExhausted
from orchestration.pipeline.ingest import poll
from tests.pipeline.test_hydrate import Bench
from tests.pipeline.test_hydrate import bench as bench

CATALOG = load_catalog()


@pytest.mark.parametrize(("days", "full_load"), [(24, False), (26, True)])
def test_a_lapse_of_more_than_25_days_is_a_full_load_and_a_shorter_one_is_not(
    bench: Bench, days: int, full_load: bool
) -> None:
    bench.put("Account", "A", AccountName="renamed")
    bench.event("WriteRecordUpdated", "Account", "A")
    bench.crm.now += timedelta(days=days)
    if full_load:
        # The log no longer has it.
        bench.crm.tables["ModificationTracking"].clear()
    result = poll(bench.open, bench.crm, CATALOG, bench.settings)  # type: ignore[arg-type]
    assert result.full_load is full_load
    # Either way the check of the log says how long nobody had read it.
    assert days - 1 < result.unread / timedelta(days=1) < days + 1
    bench.hydrate()
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("renamed",)]
    assert not poll(bench.open, bench.crm, CATALOG, bench.settings).full_load  # type: ignore[arg-type]


def test_unknown_events_and_objects_are_kept_and_counted_and_their_rows_read(bench: Bench) -> None:
    bench.put("Account", "A", AccountName="seen")
    bench.event("SomethingNew", "Account", "A")
    bench.event("WriteRecordUpdated", "Picklist", "P")
    bench.later()
    result = poll(bench.open, bench.crm, CATALOG, bench.settings)  # type: ignore[arg-type]
    assert result.events_by_kind == {"Account SomethingNew": 1, "Picklist WriteRecordUpdated": 1}
    assert result.unknown_objects == ("Picklist",)
    assert bench.query("SELECT object_name FROM modification_records ORDER BY 1") == [("Account",), ("Picklist",)]
    bench.hydrate()
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("seen",)]


def test_what_was_read_is_kept_as_it_was_once_a_content(bench: Bench) -> None:
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


def test_a_budget_that_ends_in_the_middle_loses_nothing_and_the_next_run_goes_on(bench: Bench) -> None:
    for row in ("A", "B"):
        bench.put("Account", row, AccountName="renamed")
        bench.event("WriteRecordUpdated", "Account", row)
    real = bench.crm.read_ids

    def exhausted(obj: object, ids: Iterable[str], *_: object) -> Found:
        raise CrmBudgetExhausted("spent")

    bench.crm.read_ids = exhausted  # type: ignore[method-assign, assignment]
    with pytest.raises(CrmBudgetExhausted):
        bench.sync()
    assert bench.query("SELECT value FROM read_requests WHERE object = 'account' ORDER BY 1") == [("A",), ("B",)]
    bench.crm.read_ids = real  # type: ignore[method-assign]
    bench.sync()
    assert bench.query("SELECT DISTINCT AccountName FROM snapshot.account") == [("renamed",)]
    assert bench.query("SELECT count(*) FROM read_requests") == [(0,)]
