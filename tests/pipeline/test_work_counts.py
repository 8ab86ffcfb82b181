"""The work of a publication grows with the change, not with the store; counted in statements, rows and pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import apsw
import duckdb
import pytest

from orchestration.pipeline.derive import derive
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.warehouse import open_warehouse, scalar
from tests.delta_service.stores import ObservedWriter
from tests.pipeline.snapshot_rows import CATALOG, NO_GUARD, NOW

SMALL_ACCOUNTS, LARGE_ACCOUNTS = 400, 4_000
TERRITORIES = 20
CONTACTS_AN_ACCOUNT = 3
FEW, MANY = 10, 40
# A little above the measured counts: one statement more per row or per object would exceed them by far.
MOST_STATEMENTS_WITHOUT_CHANGE = 24
MOST_STATEMENTS_OF_CHANGED_CONTACTS = 40
MOST_STATEMENTS_OF_MOVED_ACCOUNTS = 76
MOST_PAGES_A_CHANGED_ROW = 3
MOST_ROWS_BEGUN = 2 * 2_048
"""DuckDB reads one block of rows before it notices that a scan has nothing to find."""


@dataclass(frozen=True)
class Work:
    """What one publication took."""

    statements: int
    """DuckDB statements of the derivation."""
    rows_scanned: int
    """Rows of all tables, including temporary ones, that DuckDB read for the derivation, by its profile."""
    rows_looked_at: int
    """Memberships and versions that the derivation gathered."""
    bodies: int
    """Texts written."""
    deltas: int
    """Rows that differ, counted per territory."""
    store_rows: int
    """Rows that the delta store inserted, updated and deleted, staging included."""
    store_pages: int
    """Pages of 4 KiB that it wrote."""


class Counting:
    """A connection that counts the statements it is given, and the rows that they scan."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, profile: Path) -> None:
        self._connection = connection
        self._profile = profile
        self.statements = 0
        self.rows_scanned = 0

    def execute(self, sql: str, *parameters: Any) -> duckdb.DuckDBPyConnection:
        self.statements += 1
        self._connection.execute(
            f"SET enable_profiling = 'json'; SET profiling_output = '{self._profile}'; SET profiling_coverage = 'ALL'"
        )
        result = self._connection.execute(sql, *parameters).fetchall()
        self._connection.execute("PRAGMA disable_profiling")
        profile = self._profile.read_text()
        # Updates find rows by row number: the engine walks over all row numbers of the table, at 2 ns each.
        if profile and not re.search("^UPDATE ", sql, re.MULTILINE):
            self.rows_scanned += json.loads(profile)["query"]["total_rows_scanned"]
        return cast(duckdb.DuckDBPyConnection, Fetched(result))


@dataclass(frozen=True)
class Fetched:
    """A result that was read before profiling ended."""

    rows: list[tuple[Any, ...]]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows


@dataclass(frozen=True)
class Stores:
    warehouse: duckdb.DuckDBPyConnection
    writer: ObservedWriter
    folder: Path

    def set(self, obj: str, assignment: str, rows: str) -> None:
        """Change rows of an object, as a hydration would leave them."""
        self.warehouse.execute(f"UPDATE snapshot.{obj} SET {assignment} WHERE {rows}")
        self.warehouse.execute(f"INSERT INTO touched SELECT '{obj}', row_id FROM snapshot.{obj} WHERE {rows}")

    def publish(self) -> Work:
        counting = Counting(self.warehouse, self.folder / "profile.json")
        result = derive(cast(duckdb.DuckDBPyConnection, counting), CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        looked_at = sum(self._count(table) for table in ("membership", "held_version"))
        seq = result.seq if result else 0
        rows, pages = self._written()
        replicate(self.warehouse, CATALOG, self.writer)
        rows_after, pages_after = self._written()
        return Work(
            counting.statements,
            counting.rows_scanned,
            looked_at,
            self._count(f"row_body WHERE from_seq = {seq}"),
            self._count(f"territory_delta WHERE seq = {seq}"),
            rows_after - rows,
            pages_after - pages,
        )

    def _written(self) -> tuple[int, int]:
        """Rows and pages so far; none where there is no store yet. A first copy is made through another connection."""
        if self.writer.epoch is None:
            return 0, 0
        return self.writer.connection.total_changes(), _pages_written(self.writer.connection)

    def _count(self, rows: str) -> int:
        return scalar(self.warehouse, f"SELECT count(*) FROM {rows}")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stores, Stores]]:
    """A small and a large store, published."""
    with ExitStack() as stack:
        made = []
        for accounts in (SMALL_ACCOUNTS, LARGE_ACCOUNTS):
            folder: Path = tmp_path_factory.mktemp(f"accounts-{accounts}")
            one = Stores(
                stack.enter_context(open_warehouse(folder / "warehouse.duckdb", CATALOG, wait_seconds=1)),
                stack.enter_context(ObservedWriter(folder / "delta.sqlite")),
                folder,
            )
            one.warehouse.execute(
                "INSERT INTO snapshot.account (row_id, _state, TerritoryId)"
                f" SELECT format('A{{:05}}', n), 'live', 'T' || n % {TERRITORIES} FROM range({accounts}) AS t(n)"
            )
            one.warehouse.execute(
                "INSERT INTO snapshot.contact (row_id, _state, AccountId)"
                f" SELECT format('C{{:05}}', n), 'live', format('A{{:05}}', n // {CONTACTS_AN_ACCOUNT})"
                f" FROM range({accounts * CONTACTS_AN_ACCOUNT}) AS t(n)"
            )
            for obj in ("account", "contact"):
                one.set(obj, "_state = 'live'", "true")
            one.publish()
            made.append(one)
        yield made[0], made[1]


def test_without_a_change_nothing_is_read_or_written(stores: tuple[Stores, Stores]) -> None:
    for one in stores:
        work = one.publish()
        assert work.statements <= MOST_STATEMENTS_WITHOUT_CHANGE
        assert (work.rows_looked_at, work.bodies, work.deltas) == (0, 0, 0)
        assert work.store_rows <= 1  # the time up to which the store is current


def test_the_cost_of_changed_rows_does_not_grow_with_the_store(stores: tuple[Stores, Stores]) -> None:
    works = []
    for one in stores:
        one.set("contact", "JobTitle = 'changed'", f"row_id < 'C{MANY:05}'")
        works.append(one.publish())
    for work in works:
        assert (work.bodies, work.deltas, work.rows_looked_at) == (MANY, MANY, 2 * MANY)
        assert work.statements <= MOST_STATEMENTS_OF_CHANGED_CONTACTS
        assert work.store_pages <= MOST_PAGES_A_CHANGED_ROW * MANY
    assert works[0].statements == works[1].statements
    assert works[0].store_rows == works[1].store_rows
    assert works[1].rows_scanned <= works[0].rows_scanned + MOST_ROWS_BEGUN < CONTACTS_AN_ACCOUNT * LARGE_ACCOUNTS


def test_the_cost_of_moved_rows_follows_their_number_and_no_body_of_a_child_is_written(
    stores: tuple[Stores, Stores],
) -> None:
    scanned = []
    for one in stores:
        works = []
        for number, moved in enumerate((FEW, MANY)):
            one.set("account", f"TerritoryId = 'new {number}'", f"row_id < 'A{moved:05}'")
            works.append(one.publish())
        few, many = works
        rows = 1 + CONTACTS_AN_ACCOUNT
        assert (few.bodies, many.bodies) == (FEW, MANY)  # an account's body contains its territory
        assert (few.deltas, many.deltas) == (2 * rows * FEW, 2 * rows * MANY)
        assert few.rows_looked_at == 3 * rows * FEW  # old territory, new territory, versions
        assert many.rows_looked_at == 3 * rows * MANY
        assert few.statements == many.statements <= MOST_STATEMENTS_OF_MOVED_ACCOUNTS
        assert many.store_rows <= (MANY / FEW) * few.store_rows
        assert many.store_pages <= MOST_PAGES_A_CHANGED_ROW * many.deltas
        assert many.rows_scanned <= (MANY / FEW) * few.rows_scanned
        scanned.append(many.rows_scanned)
    assert scanned[1] <= scanned[0] + MOST_ROWS_BEGUN < CONTACTS_AN_ACCOUNT * LARGE_ACCOUNTS


def _pages_written(store: apsw.Connection) -> int:
    return store.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]
