"""A catalog that changes: types, fields and objects that come and go, on real warehouses and stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from delta_service.store.reader import DeltaStoreReader
from delta_service.store.views import View
from delta_service.store.writer import DeltaStoreWriter
from orchestration.catalog import AUDIT_FIELDS, DEFAULT_PATH, Catalog, FieldType, parse_catalog
from orchestration.crm.rows import Row
from orchestration.crm.values import CONVERTERS
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.derive import derive
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.snapshots import Batch, merge_batch
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import begin_reading, open_warehouse, transaction, utc_now, write_state
from tests.pipeline.snapshot_rows import NO_GUARD
from tests.pipeline.store_tables import store_equals

SHIPPED = DEFAULT_PATH.read_text()
NOW = datetime(2026, 11, 24, 6, 0, 0)  # noqa: DTZ001 - the warehouse stores UTC without zone
GUARD = Guard(max_share=0.3, min_rows=1)


def catalog_with(**types: str) -> Catalog:
    """The shipped catalog with other fields of accounts."""
    fields = "".join(f"      {name}: {kind}\n" for name, kind in types.items())
    return parse_catalog(SHIPPED.replace("      AccountName: string\n", f"      AccountName: string\n{fields}", 1))


def without_orders() -> Catalog:
    return Catalog({obj.name: obj for obj in catalog_with() if obj.name != "order"})


class Pipeline:
    def __init__(self, home: Path) -> None:
        self.home, self.store = home, home / "delta.sqlite"
        self.reads = 0

    def open(self, catalog: Catalog) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_warehouse(self.home / "warehouse.duckdb", catalog, wait_seconds=1)

    def read(self, catalog: Catalog, name: str, *rows: dict[str, str], settle: bool = True) -> None:
        """What the CRM gives, as on the wire."""
        self.reads += 1
        obj = catalog[name]
        read = []
        for raw in rows:
            kinds = {**obj.fields, **{field: FieldType(kind) for field, kind in AUDIT_FIELDS.items()}}
            values = {
                field: (raw[field] if kind is FieldType.STRING else CONVERTERS[kind](raw[field]))
                if raw.get(field)
                else None
                for field, kind in kinds.items()
            }
            read.append(Row(raw["Id"], values, {}, {key: value for key, value in raw.items() if key != "Id"}))
        with self.open(catalog) as connection, transaction(connection):
            write_state(connection, "watermark", NOW.isoformat())
            merge_batch(connection, catalog, obj, Batch(begin_reading(connection), utc_now(), read))
            if settle:
                connection.execute("DELETE FROM read_requests")

    def publish(self, catalog: Catalog, guard: Guard = GUARD) -> None:
        with self.open(catalog) as connection:
            derive(connection, catalog, as_of=NOW, now=NOW, guard=guard)
            assert not any(differences(connection).values()), differences(connection)
            with DeltaStoreWriter(self.store) as writer:
                replicate(connection, catalog, writer)
            assert store_equals(connection, self.store)
            with DeltaStoreWriter(self.store) as writer:
                replicate(connection, catalog, writer, full_copy=True)
            assert store_equals(connection, self.store)

    def requests(self, catalog: Catalog) -> list[tuple[str, str, str]]:
        with self.open(catalog) as connection:
            return connection.execute("SELECT object, kind, value FROM read_requests ORDER BY ALL").fetchall()

    def settle(self, catalog: Catalog) -> None:
        with self.open(catalog) as connection:
            connection.execute("DELETE FROM read_requests")

    def quarantined(self, catalog: Catalog) -> list[tuple[str, str, str]]:
        with self.open(catalog) as connection:
            return connection.execute("SELECT object, row_id, field FROM quarantine ORDER BY ALL").fetchall()

    def view(self, since: int | None = None) -> tuple[dict[str, dict[str, object]], set[str]]:
        """Rows by id that T1 gets, inserted or updated, and the ids of those that are deleted."""
        reader = DeltaStoreReader(self.store)
        state = reader.state(None)
        keys = {state.territories["T1"].key}
        was = View((), state.published_seq) if since is None else View(keys, since)
        now = View(keys, state.published_seq)
        rows, _ = reader.page(was, now, (), generation=state.generation, limit=1000)
        reader.close()
        found = {}
        for row in rows:
            if row.body is not None:
                body = json.loads(row.body)
                found[next(iter(body.values()))] = body
        return found, {str(row.row_id) for row in rows if row.body is None}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def account(row_id: str, **fields: str) -> dict[str, str]:
    return {"Id": row_id, "TerritoryId": "T1", "ModId": "1", **fields}


@pytest.mark.parametrize(
    ("was", "now", "wire", "served"),
    [
        ("decimal", "string", "12.750", "12.750"),
        ("string", "decimal", "12.750", 12.75),
        ("string", "int", "12", 12),
        ("int", "string", "012", "012"),
        ("int", "decimal", "13", 13),
        ("date", "dateTime", "2027-01-05T08:00:00Z", "2027-01-05T08:00:00Z"),
        ("dateTime", "date", "2027-01-05", "2027-01-05"),
        ("string", "boolean", "Y", True),
    ],
)
def test_a_field_of_another_type_is_read_anew_from_what_the_crm_gave(
    pipeline: Pipeline, was: str, now: str, wire: str, served: object
) -> None:
    before, after = catalog_with(CustomField=was), catalog_with(CustomField=now)
    # A text that both types can hold stands for what a drifting column made of it.
    readable = {"date": "2027-01-05", "dateTime": "2027-01-05T08:00:00Z"}.get(was, wire)
    pipeline.read(before, "account", account("A", CustomField=readable), account("B"))
    with pipeline.open(before) as connection:
        connection.execute("UPDATE raw_payloads SET payload = replace(payload, $1, $2)", [readable, wire])
    pipeline.publish(before)
    pipeline.publish(after)
    rows, _ = pipeline.view()
    assert rows["A"]["customField"] == served
    assert rows["B"]["customField"] is None
    assert not pipeline.requests(after), "nothing has to be read again"
    pipeline.publish(before if was != "dateTime" and was != "date" else after)


def test_a_row_that_is_not_of_the_new_type_keeps_its_last_good_text(pipeline: Pipeline) -> None:
    before, after = catalog_with(CustomField="string"), catalog_with(CustomField="int")
    pipeline.read(before, "account", account("A", CustomField="12"), account("B", CustomField="n/a"))
    pipeline.publish(before)
    with pipeline.open(after):
        pass
    assert pipeline.requests(after) == [("account", "id", "B")]
    pipeline.settle(after)
    pipeline.publish(after)
    rows, _ = pipeline.view()
    assert (rows["A"]["customField"], rows["B"]["customField"]) == (12, "n/a")
    assert pipeline.quarantined(after) == [("account", "B", "CustomField")]
    # It is not forgotten: it still moves, still goes, and the next good reading is served.
    pipeline.read(after, "account", account("B", CustomField="7"))
    pipeline.publish(after)
    assert pipeline.view()[0]["B"]["customField"] == 7
    pipeline.read(after, "account", account("B", CustomField="7", TerritoryId="T2"))
    pipeline.publish(after, NO_GUARD)
    assert pipeline.view()[0].keys() == {"A"}


def test_a_row_whose_payload_is_no_longer_kept_is_read_from_the_crm(pipeline: Pipeline) -> None:
    before, after = catalog_with(CustomField="int"), catalog_with(CustomField="decimal")
    pipeline.read(before, "account", account("A", CustomField="12"), account("B", CustomField="13"))
    pipeline.publish(before)
    with pipeline.open(before) as connection:
        connection.execute("DELETE FROM raw_payloads WHERE row_id = 'B'")
    with pipeline.open(after):
        pass
    assert pipeline.requests(after) == [("account", "id", "B")]
    # The same as it was, but for the digits that the old type could not hold: news all the same.
    pipeline.read(after, "account", account("B", CustomField="13"))
    pipeline.publish(after)
    assert {row_id: row["customField"] for row_id, row in pipeline.view()[0].items()} == {"A": 12, "B": 13}


def test_a_text_that_is_no_json_is_never_published(pipeline: Pipeline) -> None:
    catalog = catalog_with(CustomField="decimal")
    pipeline.read(catalog, "account", account("A", CustomField="1.5"), account("B"))
    pipeline.publish(catalog)
    with pipeline.open(catalog) as connection:
        connection.execute("UPDATE snapshot.account SET CustomField = 'n/a'")
        connection.execute("INSERT INTO touched VALUES ('account', 'A'), ('account', 'B')")
    pipeline.publish(catalog)
    rows, deleted = pipeline.view()
    assert (rows["A"]["customField"], rows["B"]["customField"], deleted) == (1.5, None, set())
    assert pipeline.quarantined(catalog) == [("account", "A", "*"), ("account", "B", "*")]
    pipeline.read(catalog, "account", account("A", CustomField="2.5"))
    pipeline.publish(catalog)
    assert pipeline.view()[0]["A"]["customField"] == 2.5


def test_a_field_that_goes_and_comes_back_brings_nothing_stale(pipeline: Pipeline) -> None:
    with_field, without = catalog_with(CustomField="string"), catalog_with()
    pipeline.read(with_field, "account", account("A", CustomField="old"))
    pipeline.publish(with_field)
    pipeline.publish(without)
    assert not pipeline.requests(without)
    assert "customField" not in pipeline.view(since=1)[0]["A"]
    # Blanked meanwhile, which the CRM tells by leaving it out.
    pipeline.read(without, "account", account("A"))
    with pipeline.open(with_field):
        pass
    assert pipeline.requests(with_field) == [("account", "all", "")]
    pipeline.read(with_field, "account", account("A"))
    pipeline.publish(with_field)
    assert pipeline.view()[0]["A"]["customField"] is None


def orders(pipeline: Pipeline, catalog: Catalog, *ids: str) -> None:
    pipeline.read(catalog, "order", *({"Id": row_id, "BusinessAccountId": "A", "ModId": "1"} for row_id in ids))


def test_an_object_that_is_taken_out_leaves_the_devices_and_comes_back_whole(pipeline: Pipeline) -> None:
    catalog, fewer = catalog_with(), without_orders()
    pipeline.read(catalog, "account", account("A"))
    orders(pipeline, catalog, "O1", "O2")
    pipeline.publish(catalog)
    assert pipeline.view()[0].keys() == {"A", "O1", "O2"}
    # Two of three rows at once, more than the guard lets pass: who edits the catalog means it.
    pipeline.publish(fewer)
    assert pipeline.view(since=1) == ({}, {"O1", "O2"})
    assert pipeline.view()[0].keys() == {"A"}
    pipeline.read(fewer, "account", account("A", AccountName="goes on"))
    pipeline.publish(fewer)
    assert pipeline.view(since=1)[1] == {"O1", "O2"}, "a device that was away is told too"
    with pipeline.open(catalog):
        pass
    assert pipeline.requests(catalog) == [("order", "all", "")]
    orders(pipeline, catalog, "O2", "O3")
    pipeline.publish(catalog)
    assert pipeline.view(since=1)[0].keys() >= {"A", "O3"}
    assert pipeline.view(since=1)[1] == {"O1"}
    assert pipeline.view()[0].keys() == {"A", "O2", "O3"}


def test_an_object_that_becomes_a_dimension_leaves_the_devices(pipeline: Pipeline) -> None:
    catalog = catalog_with()
    order = catalog["order"].model_copy(update={"dimension": True, "visibility": ()})
    fewer = Catalog({obj.name: order if obj.name == "order" else obj for obj in catalog})
    pipeline.read(catalog, "account", account("A"))
    orders(pipeline, catalog, "O1")
    pipeline.publish(catalog)
    with pipeline.open(fewer):
        pass
    pipeline.settle(fewer)
    pipeline.publish(fewer)
    assert pipeline.view(since=1) == ({}, {"O1"})


def test_a_retired_object_is_forgotten_with_its_history(pipeline: Pipeline) -> None:
    catalog, fewer = catalog_with(), without_orders()
    pipeline.read(catalog, "account", account("A"))
    orders(pipeline, catalog, "O1")
    pipeline.publish(catalog)
    pipeline.publish(fewer)
    pipeline.publish(fewer)
    objects: Callable[[], tuple[str, ...]] = lambda: DeltaStoreWriter(pipeline.store).objects  # noqa: E731
    assert "order" in objects()
    with pipeline.open(fewer) as connection:
        compact(connection, Retention(history_days=1), NOW + timedelta(days=3))
    pipeline.publish(fewer)
    assert objects() == tuple(obj.name for obj in fewer.served)


def test_a_warehouse_that_drifted_under_an_earlier_version_is_put_right(pipeline: Pipeline) -> None:
    before, after = catalog_with(CustomField="int"), catalog_with(CustomField="decimal")
    pipeline.read(before, "account", account("A", CustomField="12"))
    pipeline.publish(before)
    with pipeline.open(before) as connection:
        # As that version left it: the catalog is noted as followed, the column is not; 12.75 was made 13.
        connection.execute("UPDATE snapshot.account SET CustomField = 13")
        connection.execute("UPDATE raw_payloads SET payload = replace(payload, '12', '12.75')")
        for obj in after:
            write_state(connection, f"object:{obj.name}", obj.model_dump_json())
        # And kept what it had of an object that is out of the catalog.
    with pipeline.open(after) as connection:
        connection.execute("DELETE FROM state WHERE name = 'shape'")
    pipeline.publish(after)
    assert pipeline.view()[0]["A"]["customField"] == 12.75


def test_times_are_read_as_ever(pipeline: Pipeline) -> None:
    before, after = catalog_with(CustomField="string"), catalog_with(CustomField="dateTime")
    moment = datetime(2027, 1, 5, 8, 0, tzinfo=UTC)
    pipeline.read(before, "account", account("A", CustomField="2027-01-05T10:00:00+02:00"))
    pipeline.publish(before)
    pipeline.publish(after)
    assert pipeline.view()[0]["A"]["customField"] == moment.strftime("%Y-%m-%dT%H:%M:%SZ")
