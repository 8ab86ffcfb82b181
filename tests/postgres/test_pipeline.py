"""Publications, full copies, compaction and their checks with a delta store on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from delta_service.store.engine import engine_at
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.writer import DeltaStoreWriter
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.verify import head_differences, row_differences
from orchestration.pipeline.warehouse import open_warehouse, write_state
from tests.pipeline.histories import DAYS, START, change_one_day, publish, publish_some
from tests.pipeline.snapshot_rows import CATALOG, put
from tests.pipeline.store_tables import STORE_HEADS, STORE_INTERVALS, STORE_VERSIONS
from tests.postgres.cluster import new_location

pytestmark = pytest.mark.processes

STORE_BODIES_AS_TEXT = STORE_VERSIONS.replace("CAST(b.body AS TEXT)", "convert_from(b.body, 'UTF8')")
WAREHOUSE_VERSIONS = """SELECT object, row_id, from_seq, to_seq, body FROM row_version
    LEFT JOIN row_body USING (object, row_id, from_seq)"""
WAREHOUSE_HEADS = "SELECT territory, object, from_seq, rows, digest FROM territory_head"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(tmp_path / "warehouse.duckdb", CATALOG, wait_seconds=1) as connection:
        yield connection


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return str(new_location("postgres", tmp_path))


def assert_store_equals(warehouse: duckdb.DuckDBPyConnection, store_url: str) -> None:
    with closing(engine_at(store_url).open_reader()) as store:
        assert set(store.execute(STORE_INTERVALS)) == set(warehouse.execute("FROM visibility").fetchall())
        assert set(store.execute(STORE_BODIES_AS_TEXT)) == set(warehouse.execute(WAREHOUSE_VERSIONS).fetchall())
        heads = {(*head[:4], head[4] % 2**64) for head in store.execute(STORE_HEADS)}
        assert heads == set(warehouse.execute(WAREHOUSE_HEADS).fetchall())
    with closing(DeltaStoreReader(store_url)) as reader:
        assert head_differences(warehouse, reader) == 0
        assert row_differences(reader, sample=100)["wrong"] == 0


def test_the_store_equals_the_warehouse_after_publications_and_full_copies(
    warehouse: duckdb.DuckDBPyConnection, store_url: str
) -> None:
    with DeltaStoreWriter(store_url) as writer:

        def follow() -> None:
            replicate(warehouse, CATALOG, writer)
            assert_store_equals(warehouse, store_url)

        publish_some(warehouse, follow)
        assert replicate(warehouse, CATALOG, writer, full_copy=True).full_copy
        assert_store_equals(warehouse, store_url)
        put(warehouse, "account", "B", TerritoryId="T2")
        publish(warehouse)
        assert replicate(warehouse, CATALOG, writer).applied == 1
        assert_store_equals(warehouse, store_url)


def test_a_history_without_bodies_is_copied_in_full(warehouse: duckdb.DuckDBPyConnection, store_url: str) -> None:
    publish_some(warehouse)
    write_state(warehouse, "body_horizon_seq", "3")
    with DeltaStoreWriter(store_url) as writer:
        assert replicate(warehouse, CATALOG, writer).full_copy


def test_the_store_equals_the_warehouse_after_compaction(warehouse: duckdb.DuckDBPyConnection, store_url: str) -> None:
    rng = random.Random(3)
    with DeltaStoreWriter(store_url) as writer:
        for day in range(DAYS):
            change_one_day(warehouse, rng, day)
            replicate(warehouse, CATALOG, writer)
        horizons = compact(warehouse, Retention(history_days=30, body_hours=48), START + timedelta(days=DAYS))
        writer.prune(horizons.history_seq, horizons.body_seq)
        assert 0 < horizons.history_seq < horizons.body_seq
        assert_store_equals(warehouse, store_url)
        change_one_day(warehouse, rng, DAYS)
        assert not replicate(warehouse, CATALOG, writer).full_copy
        assert_store_equals(warehouse, store_url)
