"""A damaged delta store: verify notices, a sync that meets the damage and a rebuild replace it and need none of it."""

from __future__ import annotations

from pathlib import Path

import apsw
import dagster as dg
import duckdb
import pytest

from delta_service.store.errors import StoreDamagedError, StoreUnavailableError
from delta_service.store.reader import DeltaStoreReader, reading
from delta_service.store.sqlite import SqliteEngine
from delta_service.store.writer import DeltaStoreWriter
from orchestration.assets.checks import digests_agree
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.verify import differences
from orchestration.resources.warehouse import WarehouseResource
from tests.damage import DAMAGES, truncated, value_overwritten
from tests.pipeline.histories import publish, publish_some
from tests.pipeline.snapshot_rows import CATALOG, put
from tests.pipeline.store_tables import store_equals


@pytest.fixture
def store(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> Path:
    path = tmp_path / "delta.sqlite"
    for number in range(200):
        put(warehouse, "account", f"N{number}", AccountName="x" * 200, TerritoryId="T1")
    publish_some(warehouse)
    with DeltaStoreWriter(path) as writer:
        replicate(warehouse, CATALOG, writer)
    return path


def checked() -> dg.AssetCheckResult:
    result = digests_agree(WarehouseResource())
    assert isinstance(result, dg.AssetCheckResult)
    return result


def follow(warehouse: duckdb.DuckDBPyConnection, store: Path, *, full_copy: bool) -> None:
    with DeltaStoreWriter(store) as writer:
        replicate(warehouse, CATALOG, writer, full_copy=full_copy)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_rebuild_needs_nothing_of_what_is_damaged(
    warehouse: duckdb.DuckDBPyConnection, store: Path, damage: str
) -> None:
    DAMAGES[damage](store)
    follow(warehouse, store, full_copy=True)
    assert store_equals(warehouse, store)
    assert not store.with_name("delta.sqlite.new").exists()
    with reading(store) as reader:
        assert len({text.row_key for text in reader.texts()}) == 203


@pytest.mark.parametrize("damage", sorted(DAMAGES.keys() - {"value_overwritten"}))
def test_a_sync_that_meets_the_damage_replaces_the_store(
    warehouse: duckdb.DuckDBPyConnection, store: Path, damage: str
) -> None:
    DAMAGES[damage](store)
    # Something to publish in each part of the store.
    for number in range(200):
        put(warehouse, "account", f"N{number}", AccountName="y", TerritoryId="T2")
    publish(warehouse)
    follow(warehouse, store, full_copy=False)
    assert store_equals(warehouse, store)


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_notices(
    warehouse: duckdb.DuckDBPyConnection,
    store: Path,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DELTA_HOME", str(store.parent))
    assert checked().passed
    DAMAGES[damage](store)
    result = checked()
    assert not result.passed
    assert "rebuild_delta_store" in (result.description or "")


def test_a_text_and_its_sums_changed_together_are_noticed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTA_HOME", str(store.parent))
    connection = apsw.Connection(str(store))
    # No sum of stored digests shows it.
    connection.execute("UPDATE row_body SET body = CAST(replace(CAST(body AS TEXT), 'xxx', 'xyx') AS BLOB)")
    connection.close()
    assert not checked().passed


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE row_body SET body = replace(body, 'Käthe', 'Kathe')",
        "UPDATE row_version SET digest = digest - 1 WHERE row_id = 'A' AND to_seq > 100",
    ],
)
def test_verify_hashes_the_warehouses_own_texts(warehouse: duckdb.DuckDBPyConnection, store: Path, sql: str) -> None:
    assert not any(differences(warehouse).values())
    warehouse.execute(sql)
    assert differences(warehouse)["bodies that are not those of their version"]


def test_readers_that_have_the_old_file_open_find_the_new_one(
    warehouse: duckdb.DuckDBPyConnection, store: Path
) -> None:
    reader = DeltaStoreReader(store)
    before = reader.state(None)
    put(warehouse, "account", "A", AccountName="new", TerritoryId="T1")
    publish(warehouse)
    follow(warehouse, store, full_copy=True)
    assert not reader.is_current()
    assert reader.state(None) == before, "it goes on reading what it has open"
    # The last connection to the old file must not take the new one's log with it.
    with DeltaStoreWriter(store) as writer:
        reader.close()
        put(warehouse, "account", "A", AccountName="newer", TerritoryId="T1")
        publish(warehouse)
        replicate(warehouse, CATALOG, writer)
    assert store_equals(warehouse, store)


def test_killed_while_it_is_replaced_the_store_is_made_anew(warehouse: duckdb.DuckDBPyConnection, store: Path) -> None:
    # Between the old file's end and the new one's beginning, with half of another attempt beside it.
    store.with_name("delta.sqlite.new").write_bytes(store.read_bytes()[:9_000])
    store.unlink()
    with pytest.raises(StoreUnavailableError) as raised:
        DeltaStoreReader(store)
    assert type(raised.value) is StoreUnavailableError
    follow(warehouse, store, full_copy=False)
    assert store_equals(warehouse, store)


def test_the_old_log_never_gets_beside_the_new_file(warehouse: duckdb.DuckDBPyConnection, store: Path) -> None:
    put(warehouse, "account", "A", AccountName="in the log", TerritoryId="T1")
    publish(warehouse)
    reader = SqliteEngine(store).open_reader()
    with reader.snapshot():
        reader.version()
        with DeltaStoreWriter(store) as writer:
            replicate(warehouse, CATALOG, writer)
    log = store.with_name("delta.sqlite-wal")
    assert log.stat().st_size
    truncated_at = store.stat().st_size
    with store.open("rb+") as file:
        file.truncate(truncated_at // 2)
    follow(warehouse, store, full_copy=True)
    reader.close()
    assert store_equals(warehouse, store)


def test_what_is_wrong_is_named(store: Path) -> None:
    truncated(store)
    with pytest.raises(StoreDamagedError, match="damaged"), reading(store) as reader:
        list(reader.texts())


def test_what_only_verify_can_see_is_left_to_it(warehouse: duckdb.DuckDBPyConnection, store: Path) -> None:
    value_overwritten(store)
    follow(warehouse, store, full_copy=False)
    assert not store_equals(warehouse, store)
