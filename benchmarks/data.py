"""Warehouses of a given size, filled from the simulator's deterministic data."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from crm_simulator.crm import Crm
from crm_simulator.generator import generate
from orchestration.catalog import Catalog, load_catalog
from orchestration.pipeline.derive import Guard, derive
from orchestration.pipeline.schema import quoted, snapshot_table
from orchestration.pipeline.warehouse import open_warehouse

CATALOG: Catalog = load_catalog()
NO_GUARD = Guard(max_share=1.0, min_rows=10**9)
NOW = datetime(2026, 1, 1)  # noqa: DTZ001 - the warehouse stores UTC without zone


@contextmanager
def published_warehouse(accounts: int, territories: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse on disk with its first publication made; about 9 rows an account."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with open_warehouse(folder / "warehouse.duckdb", CATALOG, 1) as connection:
            _load(connection, accounts, territories)
            derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
            connection.execute("CHECKPOINT")
            yield connection
    finally:
        shutil.rmtree(folder)


def _load(connection: duckdb.DuckDBPyConnection, accounts: int, territories: int) -> None:
    crm = Crm()
    generate(crm, accounts, territories, seed=1)
    for obj in CATALOG:
        table = crm.tables[obj.service]
        records = list(table.records.values())
        columns: dict[str, list[str | None]] = {"row_id": [record.id for record in records]}
        for name in obj.fields:
            columns[name] = [table.get(record, name) or None for record in records]
        connection.register(
            "loaded", pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        )
        names = ", ".join(quoted(name) for name in columns)
        connection.execute(
            f"INSERT INTO {snapshot_table(obj).name} ({names}, _state) SELECT {names}, 'live' FROM loaded"
        )
        connection.unregister("loaded")
    connection.execute("INSERT INTO touched SELECT object, row_id FROM row_state")
