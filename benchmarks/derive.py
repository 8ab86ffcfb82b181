"""P4 and P5 of the performance contract, as far as derivation goes: a re-alignment, and a trickle."""

from __future__ import annotations

import time

import duckdb

from benchmarks.data import CATALOG, NO_GUARD, NOW, published_warehouse
from benchmarks.results import Measurement
from delta_service.store.changes import OPEN_SEQ
from orchestration.pipeline.derive import derive

SMALL = (20_000, 200)
LARGE = (100_000, 1_000)
ROUNDS = 5
CHANGED_ROWS = 200


def realign() -> list[Measurement]:
    """10 % of all accounts change territory, their children with them, against an anti-join of the same rows."""
    found = []
    for name, (accounts, territories) in {"small": SMALL, "large": LARGE}.items():
        ours: list[float] = []
        bound: list[float] = []
        moved = 0
        with published_warehouse(accounts, territories) as connection:
            for number in range(ROUNDS):
                before = _membership(connection)
                _move_a_tenth(connection, number)
                seconds, moved = _derive(connection)
                ours.append(seconds)
                bound.append(_anti_join(before, _membership(connection)))
        found.append(
            Measurement(f"realign {name}: {moved} membership changes", "s", ours, "anti-join in memory", bound)
        )
    return found


def trickle() -> list[Measurement]:
    """200 changed rows in a large warehouse, against the same in a small one."""
    seconds: dict[str, list[float]] = {"small": [], "large": []}
    with published_warehouse(*SMALL) as small, published_warehouse(*LARGE) as large:
        for number in range(ROUNDS):
            for name, connection in (("small", small), ("large", large)):
                _change_some(connection, number)
                seconds[name].append(_derive(connection)[0])
    ratio = LARGE[0] // SMALL[0]
    return [Measurement(f"trickle at {ratio} times the rows", "s", seconds["large"], "the small one", seconds["small"])]


def _derive(connection: duckdb.DuckDBPyConnection) -> tuple[float, int]:
    started = time.perf_counter()
    result = derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    seconds = time.perf_counter() - started
    assert result is not None
    return seconds, result.inserted + result.deleted


def _move_a_tenth(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """Every tenth account goes to the territory of its neighbour."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE move AS SELECT row_id, lead(TerritoryId) OVER (ORDER BY row_id) AS target,"
        " row_number() OVER (ORDER BY row_id) AS position FROM snapshot.account WHERE TerritoryId IS NOT NULL"
    )
    connection.execute(f"DELETE FROM move WHERE position % 10 <> {number % 10} OR target IS NULL")
    connection.execute(
        "UPDATE snapshot.account SET TerritoryId = move.target FROM move WHERE account.row_id = move.row_id"
    )
    connection.execute("INSERT INTO touched SELECT 'account', row_id FROM move")


def _change_some(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE picked AS SELECT row_id FROM snapshot.contact"
        f" USING SAMPLE reservoir({CHANGED_ROWS} ROWS) REPEATABLE ({number})"
    )
    connection.execute(
        f"UPDATE snapshot.contact SET JobTitle = 'title {number}' WHERE row_id IN (SELECT row_id FROM picked)"
    )
    connection.execute("INSERT INTO touched SELECT 'contact', row_id FROM picked")


def _membership(connection: duckdb.DuckDBPyConnection) -> object:
    return connection.sql(
        f"SELECT territory, object, row_id FROM visibility WHERE to_seq = {OPEN_SEQ}"
    ).to_arrow_table()


def _anti_join(before: object, after: object) -> float:
    with duckdb.connect() as memory:
        for name, table in (("arrow_before", before), ("arrow_after", after)):
            memory.register(name, table)
            memory.execute(f"CREATE TABLE {name.removeprefix('arrow_')} AS FROM {name}")
        started = time.perf_counter()
        for left, right in (("before", "after"), ("after", "before")):
            memory.execute(
                f"CREATE TABLE only_{left} AS FROM {left} ANTI JOIN {right} USING (territory, object, row_id)"
            )
        return time.perf_counter() - started
