"""An alignment file: what it would move is what moves, and which moves the guard would hold."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.pipeline.alignment import Effect, as_markdown, dry_run, judge
from orchestration.pipeline.alignment_file import AlignmentFileError, Move, read_alignment
from orchestration.pipeline.derive import derive
from orchestration.pipeline.guard import Guard
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


def test_a_dry_run_says_each_territorys_share_and_that_nothing_holds_a_proven_move(
    warehouse: duckdb.DuckDBPyConnection, file: Path
) -> None:
    moves = read_alignment(warehouse, CATALOG, file)
    (verdict,) = judge(warehouse, CATALOG, moves, GUARD, NOW)
    assert (verdict.territory, verdict.rows, verdict.leave_rows, verdict.held_by) == ("North", 30, 3 * MOVED, None)
    report = as_markdown(dry_run(warehouse, CATALOG, moves), [verdict], announced=False)
    assert "The guard would hold nothing of this" in report
    assert "80%" in report


def test_a_dry_run_names_the_setting_that_would_hold_it(warehouse: duckdb.DuckDBPyConnection, file: Path) -> None:
    moves = read_alignment(warehouse, CATALOG, file)
    strict = Guard(max_share=0.3, min_rows=5, moved_share=0.5)
    (verdict,) = judge(warehouse, CATALOG, moves, strict, NOW)
    assert verdict.held_by == "DELTA_GUARD_MOVED_SHARE"
    nowhere = [Move(move.account, move.source, None) for move in moves]
    (verdict,) = judge(warehouse, CATALOG, nowhere, GUARD, NOW)
    assert verdict.held_by == "DELTA_GUARD_MAX_SHARE"
    assert not any(differences(warehouse).values())
    assert "announce the alignment" in as_markdown([], [verdict], announced=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("account;from;to\n", ":1: the columns must be"),
        ("account,from,to\nA0,T1,T2\nX9,T1,T2\n", ":3: there is no account X9"),
        ("account,from,to\nA0,T1,T7\n", ":2: there is no territory T7"),
        ("account,from,to\nA0,South,T2\n", r":2: account Käthe 0 \(A0\) is in North \(T1\) now, not in South \(T2\)"),
        ("account,from,to\nA0,T1,T2\nA0,T1,T2\n", ":3: account A0 is listed twice"),
    ],
)
def test_an_invalid_alignment_file_is_refused_with_its_line(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(AlignmentFileError, match=reason):
        read_alignment(warehouse, CATALOG, path)


def test_all_lines_that_do_not_fit_are_named_at_once(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("account,from,to\nA0,T1,T7\nA1,North,South\nX9,T1,T2\nA2,South,North\nA1,T1,T2\n")
    with pytest.raises(AlignmentFileError) as caught:
        read_alignment(warehouse, CATALOG, path)
    first, *lines = str(caught.value).splitlines()
    assert first == "4 lines cannot be used:"
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in lines] == ["2", "4", "5", "6"]
    assert "account Käthe 2 (A2) is in North (T1) now, not in South (T2)" in lines[2]


def test_a_name_that_two_territories_have_is_refused(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    put(warehouse, "territory", "T8", TerritoryName="South")
    path = tmp_path / "bad.csv"
    path.write_text("account,from,to\nA0,North,South\n")
    with pytest.raises(AlignmentFileError, match="South names 2 territories: give the id"):
        read_alignment(warehouse, CATALOG, path)
