"""Warehouses of the tests: an empty one, and one that is loaded from a CRM in memory. Each test gets a copy."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.pipeline.warehouse import open_warehouse
from orchestration.settings import PipelineSettings
from tests.pipeline.bench import T0, Bench
from tests.pipeline.fake_crm import FakeCrm
from tests.pipeline.opened import OpenedOnce
from tests.pipeline.snapshot_rows import CATALOG


@pytest.fixture(scope="session")
def empty_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a warehouse with all tables and no rows; to be copied."""
    path = tmp_path_factory.mktemp("empty") / "warehouse.duckdb"
    with open_warehouse(path, CATALOG, wait_seconds=1):
        """Making it is all."""
    return path


@pytest.fixture
def warehouse(empty_warehouse: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    path = shutil.copy(empty_warehouse, tmp_path)
    with open_warehouse(Path(path), CATALOG, wait_seconds=1) as connection:
        yield connection


def bench_in(home: Path, crm: FakeCrm) -> Bench:
    settings = PipelineSettings(home)
    return Bench(crm, OpenedOnce(settings.warehouse_path, CATALOG), settings)


@pytest.fixture(scope="session")
def loaded_bench(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two accounts, a contact linked to both and an opportunity, after a full load; to be copied."""
    home = tmp_path_factory.mktemp("loaded")
    made = bench_in(home, FakeCrm(T0))
    shutil.copy(empty_warehouse, made.settings.warehouse_path)
    for name in ("A", "B"):
        made.put("Account", name, AccountName=name, TerritoryId="T1")
    made.put("Contact", "C", AccountId="A", _links={"ListOfAccount": ("A", "B")})
    made.put("Opportunity", "O", AccountId="A", Revenue="10.50")
    made.load()
    return made


@pytest.fixture
def bench(loaded_bench: Bench, tmp_path: Path) -> Bench:
    made = bench_in(tmp_path, copy.deepcopy(loaded_bench.crm))
    shutil.copy(loaded_bench.settings.warehouse_path, made.settings.warehouse_path)
    return made
