"""Warehouses of the contract's sizes, generated in SQL: the default catalog's objects, with company fields beside.

The simulator holds its rows in Python objects, too many at size L; the shape (objects, fields, links, vocabulary) is
its own. Everything follows from row numbers by hashing, so that a size is the same on every machine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from crm_simulator import vocabulary
from delta_service.store.writer import DeltaStoreWriter
from orchestration.catalog import AUDIT_FIELDS, Catalog, CatalogObject, FieldType, VisibilityPath, load_catalog
from orchestration.pipeline.derive import derive
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.schema import link_table, quoted, snapshot_table
from orchestration.pipeline.warehouse import open_warehouse

FIELDS_A_ROW = 30
SECOND_TERRITORY = "stSecondTerritory"
NO_GUARD = Guard(max_share=1.0, min_rows=10**9)
NOW = datetime(2026, 1, 1)  # noqa: DTZ001 - the warehouse stores UTC without zone
WORDS = sorted({*vocabulary.SUBJECTS, *vocabulary.ACCOUNT_TYPES, *vocabulary.PRODUCTS})
CACHE = Path(os.environ.get("BENCH_DATA") or Path(tempfile.gettempdir()) / "territory-delta-bench")


@dataclass(frozen=True)
class Size:
    """Numbers of rows. Half of the accounts are in two territories; a tenth of the contacts has a second account."""

    name: str
    accounts: int
    contacts: int
    others: int
    territories: int


SMALL = Size("S", 20_000, 60_000, 100_000, 200)
LARGE = Size("L", 1_000_000, 2_000_000, 1_000_000, 5_000)


def _catalog() -> Catalog:
    """The default one, every served object filled up with company fields, and accounts with a second territory."""
    objects = {}
    for obj in load_catalog():
        if not obj.dimension:
            fields = dict(obj.fields)
            visibility = obj.visibility
            if any(path.territory_field for path in visibility):
                fields[SECOND_TERRITORY] = FieldType.STRING
                visibility = (*visibility, VisibilityPath(territory_field=SECOND_TERRITORY))
            kinds = (FieldType.INT, FieldType.BOOLEAN, FieldType.STRING, FieldType.BOOLEAN)
            for number in range(FIELDS_A_ROW - len(fields)):
                fields[f"cField{number}"] = kinds[number % len(kinds)]
            obj = CatalogObject(**obj.model_dump() | {"fields": fields, "visibility": visibility})
        objects[obj.name] = obj
    return Catalog(objects)


CATALOG = _catalog()


@dataclass(frozen=True)
class Stores:
    """A warehouse with its first publication, and the delta store that follows it."""

    warehouse: duckdb.DuckDBPyConnection
    writer: DeltaStoreWriter
    folder: Path


@contextmanager
def published(size: Size) -> Iterator[Stores]:
    """Fresh copies of both stores."""
    folder = Path(tempfile.mkdtemp(prefix=f"run-{size.name}-", dir=CACHE))
    try:
        for name in ("warehouse.duckdb", "delta.sqlite"):
            shutil.copyfile(original(size) / name, folder / name)
        with (
            open_warehouse(folder / "warehouse.duckdb", CATALOG, 1) as connection,
            DeltaStoreWriter(folder / "delta.sqlite") as writer,
        ):
            yield Stores(connection, writer, folder)
    finally:
        shutil.rmtree(folder)


def original(size: Size) -> Path:
    """The folder of both stores, made once and kept in ``$BENCH_DATA``."""
    folder = CACHE / size.name
    if not (folder / "complete").exists():
        build(size, folder)
    return folder


def build(size: Size, folder: Path) -> None:
    """Snapshots, the first publication, and its replication, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open_warehouse(folder / "warehouse.duckdb", CATALOG, 1) as connection:
        load_snapshots(connection, size)
        derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        with DeltaStoreWriter(folder / "delta.sqlite") as writer:
            replicate(connection, CATALOG, writer)
    (folder / "complete").touch()


def load_snapshots(connection: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Fill the snapshot tables, everything touched: as a full load leaves a warehouse."""
    rows = {"territory": size.territories, "user": size.territories}
    rows |= {"account": size.accounts, "contact": size.contacts}
    others = [obj.name for obj in CATALOG.served if obj.name not in rows]
    rows |= {
        name: size.others // len(others) + (number < size.others % len(others)) for number, name in enumerate(others)
    }
    for obj in CATALOG:
        fields = {**obj.fields, **{name: FieldType(kind) for name, kind in AUDIT_FIELDS.items()}}
        values = ", ".join(_value(obj, field, kind, rows) for field, kind in fields.items())
        names = ", ".join(quoted(name) for name in ("row_id", *fields, "_state", "_content", "_read_at"))
        connection.execute(
            f"INSERT INTO {snapshot_table(obj).name} ({names})"
            f" SELECT {_row_id(obj.name, 'n')}, {values}, 'live', hash(n), $now FROM range({rows[obj.name]}) AS t(n)",
            {"now": NOW, **({"words": WORDS} if "$words" in values else {})},
        )
        other_account = _row_id("account", f"(hash(n, 5) % {rows['account']})")
        for link in obj.links:
            connection.execute(
                f"INSERT INTO {link_table(obj).name} SELECT row_id, '{link.list}', AccountId, true"
                f" FROM {snapshot_table(obj).name}"
                f" UNION ALL SELECT {_row_id(obj.name, 'n')}, '{link.list}', {other_account}, true"
                f" FROM range(0, {rows[obj.name]}, 10) AS t(n)"
            )
        connection.execute(f"INSERT INTO touched SELECT '{obj.name}', row_id FROM {snapshot_table(obj).name}")


def _row_id(obj: str, number: str) -> str:
    """As the CRM's: a prefix, then letters and digits."""
    return f"'A{obj[:2].upper()}2-' || to_base(({number} + 60466176)::BIGINT, 36)"


def _value(obj: CatalogObject, field: str, kind: FieldType, rows: dict[str, int]) -> str:
    """SQL for a field of row ``n``."""
    chance = f"hash(n, '{field}')"
    match kind:
        case FieldType.BOOLEAN:
            return f"{chance} % 2 = 0"
        case FieldType.INT:
            return f"({chance} % 100000)::BIGINT"
        case FieldType.DECIMAL:
            return f"({chance} % 900000)::VARCHAR || '.25'"
        case FieldType.DATE:
            return f"DATE '2026-01-01' + ({chance} % 300)::INTEGER"
        case FieldType.DATE_TIME:
            return f"TIMESTAMP '2026-01-01' + to_seconds(({chance} % 20000000)::BIGINT)"
    if field in ("TerritoryId", SECOND_TERRITORY):
        everywhere = _row_id("territory", f"({chance} % {rows['territory']})")
        return everywhere if field == "TerritoryId" else f"CASE WHEN n % 2 = 0 THEN {everywhere} END"
    targets = {"Account": "account", "Contact": "contact", "Owner": "user", "Opportunity": "opportunity"}
    target = next((name for end, name in targets.items() if field.endswith(f"{end}Id")), None)
    if field.startswith("Parent") or target == obj.name:
        return "NULL"
    if target is not None:
        return _row_id(target, f"({chance} % {rows[target]})")
    return f"list_extract($words, 1 + ({chance} % {len(WORDS)})::INTEGER)"
