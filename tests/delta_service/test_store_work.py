"""What the SQLite store writes for a publication or a full copy: counted in rows and statements, not in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import apsw
import numpy as np
import pyarrow as pa
import pytest

from delta_service.store import moves, publish, schema
from delta_service.store.changes import OPEN_SEQ, ChangeSet, RowChange, TerritoryHead, VisibilityChange
from delta_service.store.full_copy import replace
from delta_service.store.moves import visibility_table
from delta_service.store.sqlite import SqliteConnection, SqliteEngine
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import WORLDS
from tests.delta_service.model import IDENTITY, full_copy, publication
from tests.delta_service.stores import ObservedWriter

ROWS = 1_000
FEW, MANY = 10, 200
MANY_PAGES = 10_000
"""Rows that need more pages than SQLite keeps in memory for a statement journal."""
# The fence, the publication's times, and one head of each territory.
ROWS_OF_ANY_PUBLICATION = 4
# One interval is closed and one is opened.
ROWS_OF_A_MOVE = 2
# The staged row, the body, the old version closed, the new one opened, and the interval marked as touched.
ROWS_OF_A_CHANGE = 5
ROWS_OF_INDEX_STATISTICS = 8


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[ObservedWriter]:
    with ObservedWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        rows = [RowChange("account", id_of(number), 1, 1, "{}") for number in range(ROWS)]
        seen = [VisibilityChange("T1", "account", id_of(number), entered=True) for number in range(ROWS)]
        writer.apply(ChangeSet(publication(1), rows, visibility_table(seen), heads(1)))
        yield writer


def id_of(number: int) -> str:
    return f"A{number:05}"


def heads(seq: int) -> list[TerritoryHead]:
    return [TerritoryHead(territory, "account", ROWS, seq) for territory in ("T1", "T2")]


def move(count: int, source: str, target: str) -> pa.Table:
    ids = [id_of(number) for number in range(count)]
    moved = [VisibilityChange(source, "account", row_id, entered=False) for row_id in ids]
    moved += [VisibilityChange(target, "account", row_id, entered=True) for row_id in ids]
    return visibility_table(moved)


def changes(count: int, seq: int) -> list[RowChange]:
    return [RowChange("account", id_of(number), seq, seq, f'{{"seq":{seq}}}') for number in range(count)]


def rows_written(writer: ObservedWriter, change_set: ChangeSet) -> int:
    before = writer.connection.total_changes()
    writer.apply(change_set)
    return writer.connection.total_changes() - before


def test_a_moved_row_costs_two_intervals_and_writes_nothing_of_the_row_itself(writer: ObservedWriter) -> None:
    for seq, (count, source, target) in enumerate([(FEW, "T1", "T2"), (FEW, "T2", "T1"), (MANY, "T1", "T2")], start=2):
        written = rows_written(writer, ChangeSet(publication(seq), [], move(count, source, target), heads(seq)))
        assert written <= ROWS_OF_ANY_PUBLICATION + ROWS_OF_A_MOVE * count, (seq, count)


def test_a_changed_row_costs_one_version_and_one_update_of_each_interval(writer: ObservedWriter) -> None:
    for seq, count in ((2, FEW), (3, MANY)):
        written = rows_written(
            writer, ChangeSet(publication(seq), changes(count, seq), visibility_table([]), heads(seq))
        )
        assert written <= ROWS_OF_ANY_PUBLICATION + ROWS_OF_A_CHANGE * count, (seq, count)


def test_a_row_that_changes_and_moves_in_one_publication_costs_no_extra_update(writer: ObservedWriter) -> None:
    written = rows_written(writer, ChangeSet(publication(2), changes(MANY, 2), move(MANY, "T1", "T2"), heads(2)))
    most = ROWS_OF_A_CHANGE - 1 + ROWS_OF_A_MOVE
    assert written <= ROWS_OF_ANY_PUBLICATION + most * MANY


def test_the_number_of_statements_does_not_depend_on_the_size_of_the_publication(writer: ObservedWriter) -> None:
    connection = writer.connection
    taken = []
    for seq, count in ((2, FEW), (3, MANY)):
        texts: list[str] = []

        def note(_: object, sql: str, __: object, texts: list[str] = texts) -> bool:
            texts.append(sql)
            return True

        connection.exec_trace = note
        moving = move(count // 2, "T1", "T2") if seq == 2 else move(FEW // 2, "T2", "T1")
        writer.apply(ChangeSet(publication(seq), changes(count, seq), moving, heads(seq)))
        connection.exec_trace = None
        taken.append(len(set(texts)))
    assert taken[0] == taken[1]


def test_no_statement_of_a_publication_scans_a_whole_table(writer: ObservedWriter) -> None:
    connection = writer.connection
    connection.execute(publish.STAGED_ROW)
    numbers, row_ids = connection.array(np.array([1, 2])), connection.array(["A1", "A2"])
    bounds = {"seq": 2, "open": OPEN_SEQ, "numbers": numbers, "row_ids": row_ids, "object": 0}
    for statement in (
        publish.ADD_ROWS, publish.KEY_ROWS, publish.CLOSE_VERSIONS, publish.OPEN_VERSIONS, publish.SET_MERGED,
        moves.FIND_ROWS, moves.FIND_TOUCHED, moves.LEAVE, moves.TOUCH, moves.COUNT_HELD, moves.ENTER,
    ):  # fmt: skip
        plan = {row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, bounds)}
        read_whole = {f"SCAN {table}" for table in ("row", "row_version", "visibility", "seen")}
        assert not [step for step in plan if step in read_whole or step.startswith(tuple(f"{s} " for s in read_whole))]
        connection.execute(statement, bounds)


def test_no_statement_opens_a_statement_journal(tmp_path: Path) -> None:
    opened: list[int] = []

    class Watching(apsw.VFS):
        def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
            opened.append(flags[0])
            return super().xOpen(name, flags)

    watching = Watching("watching", apsw.vfs_names()[0], makedefault=True)
    try:
        with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
            writer.initialise(IDENTITY)
            entering = move(MANY_PAGES, "T2", "T1").slice(MANY_PAGES)
            writer.apply(ChangeSet(publication(1), changes(MANY_PAGES, 1), entering, heads(1)))
            moving = move(MANY_PAGES // 2, "T1", "T2")
            writer.apply(ChangeSet(publication(2), changes(MANY_PAGES, 2), moving, heads(2)))
    finally:
        watching.unregister()
    assert any(flags & apsw.SQLITE_OPEN_WAL for flags in opened)
    assert not any(flags & apsw.SQLITE_OPEN_SUBJOURNAL for flags in opened)


def test_a_full_copy_writes_each_row_once(tmp_path: Path) -> None:
    with SqliteEngine(tmp_path / "delta.sqlite").replacing(None) as fresh:
        connection = cast(SqliteConnection, fresh)
        replace(connection, full_copy(WORLDS, ("T-NORTH", "T-SOUTH")), generation="new")
        held = sum(connection.execute(f"SELECT count(*) FROM {table}").get for table in schema.TABLES)
        assert connection.total_changes() <= held + ROWS_OF_INDEX_STATISTICS
