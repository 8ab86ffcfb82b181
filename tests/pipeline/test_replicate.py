"""The delta store follows the warehouse: publication by publication, after crashes, and by full copies."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import duckdb

from delta_service.store.writer import DeltaStoreWriter
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.warehouse import open_warehouse, write_state
from tests.pipeline.guarded import GuardedPipeline, accounts
from tests.pipeline.histories import publish, publish_some
from tests.pipeline.snapshot_rows import CATALOG, put
from tests.pipeline.store_tables import store_equals


def test_the_store_equals_the_warehouse_after_each_publication(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "delta.sqlite"
    results = []

    with DeltaStoreWriter(path) as writer:

        def follow() -> None:
            results.append(replicate(warehouse, CATALOG, writer))
            assert store_equals(warehouse, path)

        publish_some(warehouse, follow)
        assert [result.published_seq for result in results] == [1, 2, 3, 4]
        assert [result.applied for result in results[1:]] == [1, 1, 1]
        assert replicate(warehouse, CATALOG, writer).applied == 0
    assert store_equals(warehouse, path)


def test_a_store_that_missed_publications_applies_them_one_by_one(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "delta.sqlite"
    put(warehouse, "account", "Z", TerritoryId="T1")
    publish(warehouse)
    with DeltaStoreWriter(path) as writer:
        replicate(warehouse, CATALOG, writer)
        publish_some(warehouse)
        result = replicate(warehouse, CATALOG, writer)
        assert (result.published_seq, result.applied, result.full_copy) == (5, 4, False)
    assert store_equals(warehouse, path)


def test_an_empty_store_is_filled_by_a_full_copy(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "delta.sqlite"
    with DeltaStoreWriter(path) as writer:
        assert not replicate(warehouse, CATALOG, writer).full_copy, "there is nothing to copy yet"
        publish_some(warehouse)
        result = replicate(warehouse, CATALOG, writer)
        assert (result.published_seq, result.applied, result.full_copy) == (4, 0, True)
    assert store_equals(warehouse, path)


def test_a_full_copy_equals_the_step_by_step_store(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "delta.sqlite"
    publish_some(warehouse)
    with DeltaStoreWriter(path) as writer:
        assert replicate(warehouse, CATALOG, writer, full_copy=True).full_copy
        assert store_equals(warehouse, path)
        put(warehouse, "account", "B", TerritoryId="T2")
        publish(warehouse)
        assert replicate(warehouse, CATALOG, writer).applied == 1
    assert store_equals(warehouse, path)


def test_a_store_that_is_ahead_or_from_another_history_is_replaced(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "delta.sqlite"
    publish_some(warehouse)
    with DeltaStoreWriter(path) as writer:
        replicate(warehouse, CATALOG, writer)
    with open_warehouse(tmp_path / "restored.duckdb", CATALOG, wait_seconds=1) as restored:
        put(restored, "account", "A", TerritoryId="T9")
        publish(restored)
        with DeltaStoreWriter(path) as writer:
            assert replicate(restored, CATALOG, writer).full_copy
        assert store_equals(restored, path)


def test_a_history_without_bodies_is_copied_in_full(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    publish_some(warehouse)
    write_state(warehouse, "body_horizon_seq", "3")
    with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        assert replicate(warehouse, CATALOG, writer).full_copy


def test_counts_of_held_rows_are_in_the_store_with_the_publication_and_after_a_full_copy(tmp_path: Path) -> None:
    pipeline = GuardedPipeline(tmp_path / "home")
    path = tmp_path / "delta.sqlite"

    def replicated(*, full_copy: bool = False) -> list[tuple[str, str, int]]:
        with pipeline.open() as connection, DeltaStoreWriter(path) as writer:
            replicate(connection, CATALOG, writer, full_copy=full_copy)
        with closing(apsw.Connection(str(path))) as store:
            return list(
                store.execute(
                    "SELECT territory.id, object.name, rows FROM held JOIN territory ON territory.key = held.territory"
                    " JOIN object ON object.key = held.object ORDER BY 1, 2"
                )
            )

    assert replicated() == []
    gone = pipeline.hide("Account", accounts("T1", range(10)))
    pipeline.run()
    assert replicated() == [("T1", "account", 10), ("T1", "order", 10)]
    assert replicated(full_copy=True) == [("T1", "account", 10), ("T1", "order", 10)]
    pipeline.crm.tables["Account"].update(gone)
    result = pipeline.run("sweep")
    assert result is not None  # nothing for devices but that nothing is held any more
    assert (result.inserted, result.updated, result.deleted) == (0, 0, 0)
    assert replicated() == []


def test_a_store_of_an_earlier_version_gets_the_table_of_held_rows(tmp_path: Path) -> None:
    pipeline = GuardedPipeline(tmp_path / "home")
    path = tmp_path / "delta.sqlite"
    for held in (0, 10):
        with pipeline.open() as connection, DeltaStoreWriter(path) as writer:
            replicate(connection, CATALOG, writer)
        with closing(apsw.Connection(str(path))) as store:
            assert store.execute("SELECT coalesce(sum(rows), 0) FROM held WHERE object = 0").get == held
            store.execute("DROP TABLE held")
        if not held:
            pipeline.hide("Account", accounts("T1", range(10)))
            pipeline.run()
