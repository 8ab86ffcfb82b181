"""Warehouses of the tests: an empty one, and one that is loaded from a CRM in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from orchestration.pipeline.warehouse import open_warehouse
from orchestration.settings import PipelineSettings
from tests.pipeline.bench import T0, Bench
from tests.pipeline.fake_crm import FakeCrm
from tests.pipeline.snapshot_rows import CATALOG


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(tmp_path / "warehouse.duckdb", CATALOG, wait_seconds=1) as connection:
        yield connection


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    settings = PipelineSettings(tmp_path)

    @contextmanager
    def opened() -> Iterator[duckdb.DuckDBPyConnection]:
        with open_warehouse(settings.warehouse_path, CATALOG, 5) as connection:
            yield connection

    made = Bench(FakeCrm(T0), opened, settings)
    for name in ("A", "B"):
        made.put("Account", name, AccountName=name, TerritoryId="T1")
    made.put("Contact", "C", AccountId="A", _links={"ListOfAccount": ("A", "B")})
    made.put("Opportunity", "O", AccountId="A", Revenue="10.50")
    made.load()
    return made
