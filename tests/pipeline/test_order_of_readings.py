"""A later reading is the later one, whatever any clock says."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.crm.rows import Row
from orchestration.pipeline.readings import newest_reading
from orchestration.pipeline.snapshots import Batch, merge_batch
from orchestration.pipeline.warehouse import begin_reading, transaction
from tests.pipeline.guarded import CATALOG, GuardedPipeline

HOUR = timedelta(hours=1)


def shift_clock(patch: pytest.MonkeyPatch, by: timedelta) -> None:
    """The host's clock as every stage of the pipeline sees it."""

    def shifted() -> datetime:
        return datetime.now(UTC).replace(tzinfo=None) + by

    for name, module in list(sys.modules.items()):
        if name.startswith("orchestration.") and hasattr(module, "utc_now"):
            patch.setattr(module, "utc_now", shifted)


@pytest.fixture
def loaded_ahead(tmp_path: Path) -> GuardedPipeline:
    """Loaded while the host's clock was an hour ahead; it is right by now."""
    with pytest.MonkeyPatch.context() as patch:
        shift_clock(patch, HOUR)
        return GuardedPipeline(tmp_path)


def change_three(pipeline: GuardedPipeline) -> None:
    pipeline.put("Account", "T1-00", AccountName="edited")
    pipeline.put("Account", "T1-01", TerritoryId="T2")
    del pipeline.crm.tables["Account"]["T1-02"]


def check_three(pipeline: GuardedPipeline) -> None:
    assert pipeline.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'T1-00'") == [("edited",)]
    assert "T1-01" in pipeline.visible("T2")
    assert "T1-02" not in pipeline.visible("T1")


def test_a_sync_brings_what_changed_after_a_load_by_a_clock_that_was_ahead(loaded_ahead: GuardedPipeline) -> None:
    change_three(loaded_ahead)
    loaded_ahead.tell("Account", ["T1-00", "T1-01"])
    loaded_ahead.tell("Account", ["T1-02"], "DeleteRecord")
    loaded_ahead.run()
    check_three(loaded_ahead)
    assert loaded_ahead.query("SELECT _state FROM snapshot.account WHERE row_id = 'T1-02'") == [("deleted",)]


def test_a_sweep_and_a_census_bring_it_without_an_event(loaded_ahead: GuardedPipeline) -> None:
    change_three(loaded_ahead)
    loaded_ahead.run("sweep")
    assert "T1-01" in loaded_ahead.visible("T2")
    loaded_ahead.run("census")
    check_three(loaded_ahead)


def test_so_does_a_full_load(loaded_ahead: GuardedPipeline) -> None:
    change_three(loaded_ahead)
    loaded_ahead.run(full_load=True)
    check_three(loaded_ahead)


def test_of_two_workers_the_one_that_began_later_wins_whatever_their_clocks_say(tmp_path: Path) -> None:
    """One more example: the first worker's clock is ahead, and it stores last."""
    pipeline = GuardedPipeline(tmp_path)
    account = CATALOG["account"]

    def read(name: str) -> Row:
        values: dict[str, Any] = {"AccountName": name, "TerritoryId": "T1", "ModId": 9}
        return Row("T1-00", values, {}, {"AccountName": name})

    with pipeline.open() as connection, transaction(connection):
        first, second = begin_reading(connection), begin_reading(connection)
        merge_batch(connection, CATALOG, account, Batch(second, pipeline.now - HOUR, [read("second")]))
        merge_batch(connection, CATALOG, account, Batch(first, pipeline.now + HOUR, [read("first")]))
    assert pipeline.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'T1-00'") == [("second",)]


def test_a_delete_learned_by_a_clock_that_was_set_back_is_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more example: such a proof looked older than the reading that last showed the row."""
    pipeline = GuardedPipeline(tmp_path)
    shift_clock(monkeypatch, -HOUR)
    pipeline.hide("Account", ["T1-00"])
    pipeline.tell("Account", ["T1-00"], "DeleteRecord")
    pipeline.run()
    assert pipeline.query("SELECT _state FROM snapshot.account WHERE row_id = 'T1-00'") == [("deleted",)]


def test_a_warehouse_without_numbers_gets_them_in_the_order_of_its_times(loaded_ahead: GuardedPipeline) -> None:
    with loaded_ahead.open() as connection:
        connection.execute("UPDATE snapshot.account SET _reading = NULL")
        connection.execute("UPDATE modification_records SET reading = NULL")
        connection.execute("DELETE FROM state WHERE name IN ('reading', 'shape')")
    in_order = "SELECT count(*) FROM snapshot.account WHERE _reading IS DISTINCT FROM epoch_us(_read_at)"
    assert loaded_ahead.query(in_order) == [(0,)]
    with loaded_ahead.open() as connection:
        newest = newest_reading(connection)
        assert connection.execute("SELECT max(_reading) <= ? FROM snapshot.account", [newest]).fetchall() == [(True,)]
    change_three(loaded_ahead)
    loaded_ahead.run("census")
    check_three(loaded_ahead)
