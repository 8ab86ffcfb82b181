"""Behaviour of DuckDB that the pipeline relies on, and an error of an earlier version."""

from __future__ import annotations

import os
import signal
from multiprocessing import get_context
from pathlib import Path

import duckdb
import pytest

from orchestration.pipeline.derive import derive
from orchestration.pipeline.schema import tables
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import CONFIG, MOST_ROWS_LOOKED_UP, newest_seq, open_warehouse
from tests.pipeline.snapshot_rows import CATALOG, NO_GUARD, NOW, put

ACCOUNTS = 2 * MOST_ROWS_LOOKED_UP
"""So many that all of them are scanned, while a few are looked up in an index."""


def test_rows_of_a_large_insert_after_an_empty_one_in_a_transaction_can_be_joined() -> None:
    """DuckDB 2.0.0 damaged the table's statistics, so that joins missed all rows permanently; 2.0.1 does not."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE source AS SELECT range::VARCHAR AS row_id FROM range(200000)")
        connection.execute("CREATE TABLE target (row_id VARCHAR)")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO target SELECT row_id FROM source WHERE row_id = 'none'")
        connection.execute("INSERT INTO target SELECT row_id FROM source")
        connection.execute("COMMIT")
        found = connection.execute("SELECT count(*) FROM target JOIN source USING (row_id)").fetchone()
        assert found == (200_000,)


@pytest.mark.parametrize(
    "condition", ["v.row_id = few.row_id", "v.row_id = few.row_id AND (v.object, v.to_seq) = (few.object, 9)"]
)
def test_joins_use_the_index_for_few_rows_and_a_scan_for_many(condition: str) -> None:
    with duckdb.connect(config=CONFIG) as connection:
        connection.execute(
            "CREATE TABLE v AS SELECT 'object' AS object, 'R' || n AS row_id, n % 10 AS to_seq"
            " FROM range(200000) AS t(n)"
        )
        connection.execute("CREATE INDEX v_by_row_id ON v (row_id)")
        for rows, looked_up in ((MOST_ROWS_LOOKED_UP // 2, True), (MOST_ROWS_LOOKED_UP * 2, False)):
            connection.execute(f"CREATE OR REPLACE TEMP TABLE few AS SELECT object, row_id FROM v LIMIT {rows}")
            plan = connection.execute(f"EXPLAIN ANALYZE SELECT count(*) FROM v SEMI JOIN few ON {condition}").fetchall()
            assert ("Index Scan" in plan[0][1]) is looked_up


def test_a_warehouse_without_indexes_gets_them_when_opened(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        for schema, name in indexes(connection):
            connection.execute(f'DROP INDEX {schema}."{name}"')
        assert indexes(connection) == set()
        connection.execute("UPDATE state SET value = 'of an earlier version' WHERE name = 'shape'")
        put(connection, "account", "A", TerritoryId="T1")
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        wanted = {index.split('"')[1] for table in tables(CATALOG) for index in table.index_ddl}
        assert {name for _, name in indexes(connection)} == wanted
        result = derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        assert result is not None
        assert result.inserted == 1


@pytest.mark.processes
def test_a_committed_derivation_survives_in_the_wal_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        connection.execute(
            "INSERT INTO snapshot.account (row_id, _state, TerritoryId)"
            f" SELECT 'A' || n, 'live', 'T' || n % 9 FROM range({ACCOUNTS}) AS t(n)"
        )
        connection.execute("INSERT INTO touched SELECT 'account', row_id FROM snapshot.account")
        derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    killed = get_context("spawn").Process(target=_move_all_and_be_killed, args=(path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert path.with_name("warehouse.duckdb.wal").stat().st_size > 0
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        assert newest_seq(connection) == 2
        assert not any(differences(connection).values())
        put(connection, "account", "A7", TerritoryId="T8")  # few rows: found by the index recovered from the log
        result = derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        assert result is not None
        assert (result.inserted, result.deleted) == (1, 1)
        assert not any(differences(connection).values())


def _move_all_and_be_killed(path: Path) -> None:
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        connection.execute("UPDATE snapshot.account SET TerritoryId = 'another'")
        connection.execute("INSERT INTO touched SELECT 'account', row_id FROM snapshot.account")
        derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        os.kill(os.getpid(), signal.SIGKILL)


def indexes(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    return set(connection.execute("SELECT schema_name, index_name FROM duckdb_indexes()").fetchall())
