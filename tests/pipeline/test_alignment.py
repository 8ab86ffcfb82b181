"""Alignment files: the dry run predicts what moves, and announced moves pass the guard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.pipeline.alignment import AlignmentFileError, Effect, Move, announce, dry_run, read_alignment
from orchestration.pipeline.derive import Guard, PublicationHeldError, derive
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse
from tests.pipeline.snapshot_rows import CATALOG, NO_GUARD, NOW, link, published_view, put

GUARD = Guard(max_share=0.3, min_rows=5)
MOVED = 8


@pytest.fixture(scope="module")
def published_warehouse(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T1 (North) with ten accounts of two children each, one contact also linked to an account of T2 (South)."""
    path = Path(shutil.copy(empty_warehouse, tmp_path_factory.mktemp("published")))
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        for territory, name in (("T1", "North"), ("T2", "South")):
            put(connection, "territory", territory, TerritoryName=name)
        put(connection, "account", "B", TerritoryId="T2")
        for n in range(10):
            put(connection, "account", f"A{n}", AccountName=f"Käthe {n}", TerritoryId="T1")
            put(connection, "contact", f"C{n}", AccountId=f"A{n}")
            put(connection, "order", f"O{n}", BusinessAccountId=f"A{n}")
        link(connection, "C0", {"A0", "B"})
        derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    return path


@pytest.fixture
def warehouse(published_warehouse: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    path = Path(shutil.copy(published_warehouse, tmp_path))
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        yield connection


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "alignment.csv"
    path.write_text("account,from,to\n" + "".join(f"A{n},North,T2\n" for n in range(MOVED)))
    return path


def realign(connection: duckdb.DuckDBPyConnection, *accounts: str) -> None:
    for account in accounts:
        put(connection, "account", account, AccountName=f"Käthe {account[1:]}", TerritoryId="T2")


def test_a_dry_run_predicts_the_changes_and_makes_none(warehouse: duckdb.DuckDBPyConnection, file: Path) -> None:
    before = published_view(warehouse)
    effects = dry_run(warehouse, CATALOG, read_alignment(warehouse, CATALOG, file))
    assert published_view(warehouse) == before
    assert not any(differences(warehouse).values())
    assert warehouse.execute("SELECT count(*) FROM touched").fetchall() == [(0,)]

    realign(warehouse, *(f"A{n}" for n in range(MOVED)))
    result = derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    assert result is not None
    assert sum(e.enter_rows for e in effects) == result.inserted == 3 * MOVED - 1
    assert sum(e.leave_rows for e in effects) == result.deleted == 3 * MOVED
    contacts = next(e for e in effects if (e.territory, e.object) == ("South", "contact"))
    sizes = warehouse.execute(
        "SELECT sum(octet_length(encode(body))) FROM row_body WHERE object = 'contact' AND row_id IN"
        f" (SELECT row_id FROM territory_delta WHERE seq = {result.seq} AND territory = 'T2' AND operation = 'insert')"
    ).fetchall()
    assert contacts == Effect("South", "contact", MOVED - 1, sizes[0][0], 0)


def test_an_announced_realignment_passes_the_guard_with_its_children_once(
    warehouse: duckdb.DuckDBPyConnection, file: Path
) -> None:
    moved = [f"A{n}" for n in range(MOVED)]
    realign(warehouse, *moved)
    with pytest.raises(PublicationHeldError):
        derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=GUARD)
    announce(warehouse, read_alignment_before(warehouse, file), "spring alignment", NOW)
    result = derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=GUARD)
    assert result is not None
    assert result.deleted == 3 * MOVED
    assert warehouse.execute("FROM announced_move").fetchall() == []


def read_alignment_before(connection: duckdb.DuckDBPyConnection, file: Path) -> list[Move]:
    """The file as it was read before the accounts moved."""
    connection.execute("UPDATE snapshot.account SET TerritoryId = 'T1' WHERE row_id LIKE 'A%'")
    moves = read_alignment(connection, CATALOG, file)
    connection.execute(f"UPDATE snapshot.account SET TerritoryId = 'T2' WHERE row_id < 'A{MOVED}' AND row_id LIKE 'A%'")
    return moves


def test_an_announcement_covers_only_the_moves_it_lists(warehouse: duckdb.DuckDBPyConnection, file: Path) -> None:
    announce(warehouse, read_alignment(warehouse, CATALOG, file)[:2], "two only", NOW)
    realign(warehouse, *(f"A{n}" for n in range(MOVED)))
    with pytest.raises(PublicationHeldError, match=rf"North \(T1\): {3 * (MOVED - 2)} of 30"):
        derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=GUARD)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("account;from;to\n", ":1: the columns must be"),
        ("account,from,to\nA0,T1,T2\nX9,T1,T2\n", ":3: there is no account X9"),
        ("account,from,to\nA0,T1,T7\n", ":2: there is no territory T7"),
        ("account,from,to\nA0,South,T2\n", ":2: account A0 is in T1 now"),
        ("account,from,to\nA0,T1,T2\nA0,T1,T2\n", ":3: account A0 stands in the file twice"),
    ],
)
def test_an_invalid_alignment_file_is_refused_with_its_line(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(AlignmentFileError, match=reason):
        read_alignment(warehouse, CATALOG, path)
