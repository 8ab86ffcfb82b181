"""Queries to the warehouse and to the delta store: both give the same answers, and neither is changed."""

from __future__ import annotations

import csv
import io
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from delta_service.store.writer import DeltaStoreWriter
from orchestration import inspect
from orchestration.inspect.__main__ import main
from orchestration.pipeline.derive import derive
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.warehouse import locked, open_warehouse
from tests.pipeline.snapshot_rows import CATALOG, NO_GUARD, put

START = datetime(2026, 11, 24, 6, 0, 0)  # noqa: DTZ001 - the warehouse stores UTC without zone


@pytest.fixture(scope="module")
def published_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four publications: two accounts; an edit; a move from T1 to T2; a deletion. To be copied."""
    folder = tmp_path_factory.mktemp("published")
    with open_warehouse(folder / "warehouse.duckdb", CATALOG, 1) as connection:
        put(connection, "territory", "T1", TerritoryName="North")
        put(connection, "territory", "T2", TerritoryName="South")
        put(connection, "account", "A1", AccountName="Clinic", TerritoryId="T1")
        put(connection, "account", "A2", AccountName="Pharmacy", TerritoryId="T1")
        publish(connection, 0)
        put(connection, "account", "A1", AccountName="Clinic & Co", TerritoryId="T1")
        publish(connection, 1)
        put(connection, "account", "A2", AccountName="Pharmacy", TerritoryId="T2")
        publish(connection, 2)
        put(connection, "account", "A1", "deleted")
        publish(connection, 3)
        with DeltaStoreWriter(folder / "delta.sqlite") as writer:
            replicate(connection, CATALOG, writer)
    return folder


@pytest.fixture
def home(published_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELTA_HOME", str(tmp_path))
    return shutil.copytree(published_home, tmp_path, dirs_exist_ok=True)


def publish(connection: duckdb.DuckDBPyConnection, hour: int) -> None:
    moment = START + timedelta(hours=hour)
    assert derive(connection, CATALOG, as_of=moment, now=moment, guard=NO_GUARD)


@pytest.fixture(params=[inspect, inspect.store], ids=["warehouse", "store"])
def source(request: pytest.FixtureRequest, home: Path) -> Any:
    return request.param


def operations(frame: Any) -> list[tuple[str, ...]]:
    return list(frame[["object", "row_id", "operation"]].itertuples(index=False, name=None))


def test_a_delta_between_two_publications_lists_each_row_once(source: Any) -> None:
    assert operations(source.deltas("North", since=1)) == [("account", "A1", "delete"), ("account", "A2", "delete")]
    assert operations(source.deltas("T1", since=1, until=2)) == [("account", "A1", "update")]
    assert operations(source.deltas("T2", since=0)) == [("account", "A2", "insert")]
    assert operations(source.deltas("T2", since="0")) == [("account", "A2", "insert")]
    assert operations(source.deltas("T1", since=2, until=2)) == []


def test_a_time_selects_the_last_publication_before_it(source: Any) -> None:
    assert list(source.contents("T1", at="2026-11-24T07:30:00Z")["row_id"]) == ["A1", "A2"]
    assert list(source.contents("T1", at=datetime(2026, 11, 24, 8, 30))["row_id"]) == ["A1"]  # noqa: DTZ001
    assert list(source.contents("T1")["row_id"]) == []


def test_contents_of_one_object_have_a_column_for_each_member(source: Any) -> None:
    frame = source.contents("T1", at=2, obj="account", bodies=True)
    assert dict(zip(frame["row_id"], frame["accountName"], strict=True)) == {"A1": "Clinic & Co", "A2": "Pharmacy"}


def test_the_history_of_a_row_lists_versions_and_territories(source: Any) -> None:
    frame = source.history("account", "A2")
    seen = frame[frame["kind"] == "visible"].fillna({"to_seq": 0})
    assert list(zip(seen["territory"], seen["from_seq"], seen["to_seq"], strict=True)) == [
        ("North", 1, 3),
        ("South", 3, 0),
    ]
    assert list(frame["kind"]).count("content") == 2


def test_publications_are_listed_newest_first(source: Any) -> None:
    frame = source.publications(3)
    assert list(frame["seq"]) == [4, 3, 2]
    assert f"{frame['published_at'][0]:%H:%M}" == "09:00"


def test_errors_name_the_unknown_territory_publication_or_time(source: Any) -> None:
    with pytest.raises(inspect.InspectError, match="territory West is not known"):
        source.contents("West")
    with pytest.raises(inspect.InspectError, match="the newest is 4"):
        source.contents("T1", at=9)
    with pytest.raises(inspect.InspectError, match="neither a publication's number nor a time"):
        source.contents("T1", at="yesterday")


def test_deltas_can_be_listed_per_publication(home: Path) -> None:
    frame = inspect.deltas("T1", since=1, each=True)
    assert list(frame[["seq", "row_id", "operation"]].itertuples(index=False, name=None)) == [
        (2, "A1", "update"),
        (3, "A2", "delete"),
        (4, "A1", "delete"),
    ]


def test_held_rows_tell_where_how_many_and_why(home: Path) -> None:
    with open_warehouse(home / "warehouse.duckdb", CATALOG, 1) as connection:
        connection.execute("INSERT INTO held_row VALUES ('T2', 'account', 'A2', 'vanished', ?)", [START])
    counts = inspect.held()
    assert list(counts[["territory", "object", "rows", "of_rows", "vanished"]].itertuples(index=False, name=None)) == [
        ("South", "account", 1, 1, 1)
    ]
    rows = inspect.held("South")
    assert list(rows[["object", "row_id", "evidence"]].itertuples(index=False, name=None)) == [
        ("account", "A2", "vanished")
    ]
    assert inspect.decisions().empty


def test_the_command_waits_for_the_warehouse_and_then_names_the_process_using_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(home / "warehouse.duckdb", 1):
        assert main(["publications", "--wait", "0.1"]) == 1
        said = capsys.readouterr().err
        assert "in use by process" in said
        assert "--source store" in said
        assert main(["publications", "--wait", "0.1", "--source", "store"]) == 0


def test_inspecting_does_not_change_the_warehouse_file(home: Path) -> None:
    before = (home / "warehouse.duckdb").read_bytes()
    inspect.publications()
    inspect.contents("T1", at=1, bodies=True)
    assert (home / "warehouse.duckdb").read_bytes() == before


def test_the_inspect_command_prints_tables_csv_and_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    assert "1 rows" in printed("deltas", "T1", "--since", "1", "--until", "2")
    assert "A1" in printed("deltas", "T1", "--each")
    (row,) = csv.DictReader(io.StringIO(printed("deltas", "T1", "--since", "1", "--until", "2", "--format", "csv")))
    assert row["operation"] == "update"
    rows = json.loads(printed("contents", "T2", "--format", "json"))
    assert [row["row_id"] for row in rows] == ["A2"]
    assert "Pharmacy" not in printed("contents", "T2")
    assert "Pharmacy" in printed("contents", "T2", "--bodies")
    assert "no rows" in printed("held")
    assert "visible" in printed("history", "account", "A2")
    assert "published_at" in printed("publications", "--source", "store")


def test_without_a_warehouse_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DELTA_HOME", str(tmp_path))
    assert main(["publications"]) == 1
    assert "set DELTA_HOME, or run full_load" in capsys.readouterr().err
    assert main(["publications", "--source", "store"]) == 1
    assert main(["held", "--source", "store"]) == 1
    assert not list(tmp_path.iterdir())
