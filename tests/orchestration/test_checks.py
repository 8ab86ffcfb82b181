"""Checks on real tables: they fail when the data is wrong, and a blocking one keeps a publication from devices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from orchestration.assets.checks import equals_recompute, publication_checks, read_in_time
from orchestration.pipeline.derive import derive
from orchestration.pipeline.warehouse import open_warehouse
from orchestration.resources.warehouse import WarehouseResource
from tests.pipeline.test_derive import CATALOG, NO_GUARD, NOW, put


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(tmp_path / "warehouse.duckdb", CATALOG, wait_seconds=1) as connection:
        put(connection, "account", "A", TerritoryId="T1")
        derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        put(connection, "account", "A", TerritoryId="T2", AccountName="moved")
        derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        yield connection


def passed(connection: duckdb.DuckDBPyConnection) -> list[bool]:
    return [check.passed for check in publication_checks(connection, 2)]


def test_a_right_publication_passes(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert passed(warehouse) == [True, True]


def test_a_visible_row_without_its_text_blocks(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("DELETE FROM row_body WHERE from_seq = 2")
    assert passed(warehouse) == [False, True]


def test_a_row_that_leaves_a_territory_it_was_not_in_blocks(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("UPDATE visibility SET from_seq = 2 WHERE territory = 'T1'")
    assert passed(warehouse) == [True, False]


@pytest.mark.parametrize(
    ("days", "outcome", "severity"),
    [(0, True, None), (8, False, dg.AssetCheckSeverity.WARN), (22, False, dg.AssetCheckSeverity.ERROR)],
)
def test_a_log_unread_for_long_warns_and_then_fails(
    days: int, outcome: bool, severity: dg.AssetCheckSeverity | None
) -> None:
    result = read_in_time(timedelta(days=days))
    assert result.passed is outcome
    assert severity is None or result.severity is severity


def test_tables_that_differ_from_a_recompute_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTA_HOME", str(tmp_path))
    resource = WarehouseResource()

    def compare() -> bool:
        result = equals_recompute(resource)
        assert isinstance(result, dg.AssetCheckResult)
        return result.passed

    with resource.open() as connection:
        put(connection, "account", "A", TerritoryId="T1")
        derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    assert compare()
    with resource.open() as connection:
        connection.execute("DELETE FROM visibility")
    assert not compare()
