"""Changed territories are marked once an hour, a limited number at a time, and each territory at least once a week."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pytest

from orchestration.pipeline import stamps
from orchestration.pipeline.derive import derive
from orchestration.pipeline.stamps import HOURS_PER_ROUND, due_stamps, stamped_up_to
from tests.pipeline.snapshot_rows import CATALOG, NO_GUARD, NOW, put

TERRITORIES = [f"T{number}" for number in range(5)]


@pytest.fixture
def warehouse(warehouse: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Two territories with an account each from the first publication; the others, one more in each publication."""
    for together in (TERRITORIES[:2], *([one] for one in TERRITORIES[2:])):
        for territory in together:
            put(warehouse, "account", f"A{territory}", TerritoryId=territory)
        derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    return warehouse


def fresh(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [stamp.territory for stamp in due_stamps(connection, NOW) if stamp.fresh]


def test_a_changed_territory_is_marked_once(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert fresh(warehouse) == TERRITORIES
    stamped_up_to(warehouse, due_stamps(warehouse, NOW))
    assert fresh(warehouse) == []
    put(warehouse, "account", "AT3", TerritoryId="T3", AccountName="renamed")
    derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    (stamp,) = [one for one in due_stamps(warehouse, NOW) if one.fresh]
    assert (stamp.territory, stamp.rows, stamp.changed_by, stamp.changed_at) == ("T3", 1, 5, NOW)


def test_territories_beyond_the_hourly_limit_are_marked_in_the_next_hour(
    warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "STAMPS_PER_HOUR", 3)
    first = fresh(warehouse)
    stamped_up_to(warehouse, due_stamps(warehouse, NOW))
    assert first == ["T0", "T1", "T2"]
    assert fresh(warehouse) == ["T3", "T4"]


def test_each_unchanged_territory_is_marked_once_a_week(warehouse: duckdb.DuckDBPyConnection) -> None:
    stamped_up_to(warehouse, due_stamps(warehouse, NOW))
    hours = [NOW + timedelta(hours=hour) for hour in range(HOURS_PER_ROUND)]
    stamped = [stamp.territory for hour in hours for stamp in due_stamps(warehouse, hour)]
    assert sorted(stamped) == TERRITORIES
