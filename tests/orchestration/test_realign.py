"""Which territories a realignment selects, and what it reports while reading them."""

from __future__ import annotations

import copy
import shutil
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.assets.reconciliation import Realignment, choose
from orchestration.catalog import load_catalog
from orchestration.pipeline.alignment_file import AlignmentFileError
from orchestration.pipeline.derive import derive
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.ingest import poll
from orchestration.pipeline.progress import Progress, WatchedWarehouse
from orchestration.pipeline.rebuild import UnknownTerritoryError, out_of_step, reread_territories, results
from orchestration.pipeline.rederive import mend_heads, touch_territories
from orchestration.pipeline.replay import WindowError, replay
from orchestration.pipeline.report import territory_results
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse, read_state, transaction, utc_now
from orchestration.settings import PipelineSettings
from tests.pipeline.fake_crm import FakeCrm

CATALOG = load_catalog()
NO_GUARD = Guard(1.0, 10**6)
NOW = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=9)


class Pipeline:
    """Three territories below one region, an account with an order in each; loaded and published."""

    def __init__(self, home: Path, crm: FakeCrm) -> None:
        self.settings = PipelineSettings(home)
        self.crm = crm

    def load(self) -> None:
        self.crm.tables = {
            "Territory": {
                "R": {"TerritoryName": "Region", "ModifiedDate": LONG_AGO},
                **{
                    f"T{n}": {"TerritoryName": f"North {n}", "ParentTerritoryId": "R", "ModifiedDate": LONG_AGO}
                    for n in (1, 2, 3)
                },
            },
            "Account": {
                f"A{n}": {"AccountName": f"Clinic {n}", "TerritoryId": f"T{n}", "ModifiedDate": LONG_AGO}
                for n in (1, 2, 3)
            },
            "Order": {f"O{n}": {"BusinessAccountId": f"A{n}", "ModifiedDate": LONG_AGO} for n in (1, 2, 3)},
            "ModificationTracking": {},
        }
        poll(self.open, self.crm, CATALOG, self.settings)
        self.read_and_publish()

    def open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_warehouse(self.settings.warehouse_path, CATALOG, 1)

    def read_and_publish(self) -> int | None:
        for obj in CATALOG:
            hydrate(self.open, self.crm, CATALOG, obj)
        hydrate_remaining(self.open, self.crm, CATALOG)
        with self.open() as connection:
            published = derive(connection, CATALOG, as_of=utc_now(), now=utc_now(), guard=NO_GUARD)
            assert not any(differences(connection).values())
        return published.seq if published else None

    def move(self, account: str, territory: str) -> None:
        self.crm.tables["Account"][account]["TerritoryId"] = territory

    def sees(self, territory: str) -> set[str]:
        with self.open() as connection:
            rows = connection.execute(
                "SELECT row_id FROM visibility WHERE territory = ? AND to_seq > 2^52", [territory]
            ).fetchall()
        return {str(row[0]) for row in rows}


@pytest.fixture(scope="module")
def loaded_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """To be copied."""
    made = Pipeline(tmp_path_factory.mktemp("loaded"), FakeCrm(NOW))
    made.load()
    return made


@pytest.fixture
def pipeline(loaded_pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    made = Pipeline(tmp_path, copy.deepcopy(loaded_pipeline.crm))
    shutil.copy(loaded_pipeline.settings.warehouse_path, made.settings.warehouse_path)
    return made


def chosen(pipeline: Pipeline, **config: Any) -> tuple[list[str], list[str]]:
    with pipeline.open() as connection:
        found = choose(connection, CATALOG, Realignment(**config))
    return list(found.territories), list(found.accounts)


def test_territories_are_chosen_by_id_name_or_parent_without_duplicates(pipeline: Pipeline) -> None:
    assert chosen(pipeline, territories=["North 2", "T1", "T2"]) == (["T2", "T1"], [])
    assert sorted(chosen(pipeline, parent="Region")[0]) == ["T1", "T2", "T3"]
    with pytest.raises(UnknownTerritoryError, match="territory West is not known"):
        chosen(pipeline, territories=["West"])


def test_an_alignment_file_selects_its_territories_and_accounts_whether_done_or_not(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    text = "account,from,to\nA1,North 1,T2\nA9,,North 3\n"
    assert chosen(pipeline, alignment=text) == (["T1", "T2", "T3"], ["A1", "A9"])
    file = tmp_path / "moves.csv"
    file.write_text("\ufeff" + text, encoding="utf-8")
    assert chosen(pipeline, alignment_file=str(file), territories=["R"])[0] == ["R", "T1", "T2", "T3"]
    with pytest.raises(AlignmentFileError, match="alignment:2: there is no territory Mars"):
        chosen(pipeline, alignment="account,from,to\nA1,North 1,Mars\n")
    with pytest.raises(AlignmentFileError, match="alignment:1: the columns must be account, from, to"):
        chosen(pipeline, alignment="A1,T1,T2")


def test_accounts_named_in_an_alignment_file_are_read_from_any_territory(pipeline: Pipeline) -> None:
    pipeline.move("A1", "T3")
    pipeline.crm.tables["Order"]["O4"] = {"BusinessAccountId": "A1", "ModifiedDate": LONG_AGO}
    territories, accounts = chosen(pipeline, alignment="account,from,to\nA1,T1,T2\n")
    reread_territories(pipeline.open, pipeline.crm, CATALOG, territories, accounts)
    pipeline.read_and_publish()
    assert pipeline.sees("T1") == set()
    assert pipeline.sees("T3") == {"A1", "O1", "O4", "A3", "O3"}


def test_accounts_moved_without_an_event_are_found(pipeline: Pipeline) -> None:
    moved = out_of_step(pipeline.open, pipeline.crm, CATALOG)
    assert (moved.accounts, moved.territories) == ((), ())
    pipeline.move("A1", "T2")
    del pipeline.crm.tables["Account"]["A3"]
    moved = out_of_step(pipeline.open, pipeline.crm, CATALOG)
    assert moved.accounts == ("A1", "A3")
    assert moved.territories == ("T1", "T2", "T3")


def test_the_report_of_a_rebuild_lists_changes_per_territory(pipeline: Pipeline) -> None:
    pipeline.move("A1", "T2")
    reread_territories(pipeline.open, pipeline.crm, CATALOG, ["T1", "T2"])
    seq = pipeline.read_and_publish()
    with pipeline.open() as connection:
        report = territory_results(results(connection, seq, ["T1", "T2"]), 12)
    assert "2 territories: 2 rows in, 0 changed, 2 out; 12 operations." in report
    assert "| North 1 | 0 | 0 | 2 | 0 |" in report
    assert "| North 2 | 2 | 0 | 0 | 4 |" in report


def test_progress_reports_completed_and_known_reads(pipeline: Pipeline) -> None:
    told: list[Progress] = []
    watched = WatchedWarehouse(pipeline.open, told.append, every_seconds=0)
    reread_territories(watched.open, pipeline.crm, CATALOG, ["T1", "T2", "T3"])
    assert told
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert all(one.done < one.total for one in told)
    assert watched.progress.done == watched.progress.total > 0


def test_a_replayed_window_reads_rows_of_known_events_and_keeps_the_watermark(pipeline: Pipeline) -> None:
    event = {
        "ObjectName": "Account", "ObjectId": "A2", "ChildName": None, "ChildId": None,
        "EventName": "WriteRecordUpdated", "ModificationNumber": 1, "ModifiedDate": NOW - timedelta(hours=2),
    }  # fmt: skip
    pipeline.crm.tables["ModificationTracking"]["E1"] = event
    pipeline.crm.tables["Account"]["A2"]["AccountName"] = "Renamed"
    with pipeline.open() as connection:
        watermark = read_state(connection, "watermark")
    window = (NOW - timedelta(hours=3), NOW - timedelta(hours=1))
    first = replay(pipeline.open, pipeline.crm, CATALOG, *window)
    assert (first.events, first.events_new, first.requests) == (1, 1, 1)
    assert pipeline.read_and_publish() is not None
    again = replay(pipeline.open, pipeline.crm, CATALOG, *window)
    assert (again.events, again.events_new, again.requests) == (1, 0, 1)
    assert pipeline.read_and_publish() is None
    with pipeline.open() as connection:
        assert read_state(connection, "watermark") == watermark


def test_a_window_outside_the_log_is_refused(pipeline: Pipeline) -> None:
    def refused(lower: datetime, upper: datetime) -> str:
        with pytest.raises(WindowError) as raised:
            replay(pipeline.open, pipeline.crm, CATALOG, lower, upper)
        return str(raised.value)

    assert "before 2026-10-26T06:00:00Z is no longer in it. Run census" in refused(NOW - timedelta(days=30), NOW)
    assert "before it begins" in refused(NOW, NOW - timedelta(hours=1))
    assert "in the future" in refused(NOW + timedelta(hours=1), NOW + timedelta(hours=2))


def test_damaged_tables_of_a_territory_are_derived_again_from_the_snapshots(pipeline: Pipeline) -> None:
    with pipeline.open() as connection:
        connection.execute("DELETE FROM visibility WHERE territory = 'T1' AND object = 'order'")
        connection.execute("INSERT INTO visibility VALUES ('T1', 'account', 'A3', 1, 9007199254740991)")
        connection.execute("UPDATE territory_head SET digest = 5, rows = 9 WHERE territory IN ('T1', 'T2')")
        assert any(differences(connection).values())
        assert touch_territories(connection, ["T1"]) == 3
        published = derive(connection, CATALOG, as_of=utc_now(), now=utc_now(), guard=NO_GUARD)
        assert published is not None
        assert (published.inserted, published.deleted) == (1, 1)
        with transaction(connection):
            assert mend_heads(connection, ["T1", "T2"]) == 4
        assert not any(differences(connection).values())
        assert mend_heads(connection, ["T1", "T2"]) == 0
