"""What the writer guarantees: fences, refusals, crash safety, pruning."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from delta_service.store import moves, questions
from delta_service.store.changes import ChangeSet, RowChange, TerritoryHead, VisibilityChange
from delta_service.store.engine import StoreLocation, engine_at
from delta_service.store.errors import ChangeSetError, HistoryExpiredError, StaleSeqError, StoreIdentityError
from delta_service.store.moves import visibility_table
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.territory_keys import INSERT_TERRITORY
from delta_service.store.views import View
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import A1, A2, A3, MERGED, WORLDS, publish, world
from tests.delta_service.crashing_writer import ROWS, killed_at_the_end, row_count
from tests.delta_service.model import IDENTITY, START, change_set, full_copy, publication
from tests.delta_service.stores import content_of, reading

TERRITORIES = ("T-NORTH", "T-SOUTH")


@pytest.fixture
def writer(location: StoreLocation) -> Iterator[DeltaStoreWriter]:
    with DeltaStoreWriter(location) as writer:
        writer.initialise(IDENTITY)
        publish(writer, WORLDS)
        yield writer


def test_a_new_store_is_empty_until_it_is_given_an_identity(location: StoreLocation) -> None:
    with DeltaStoreWriter(location) as writer:
        assert (writer.epoch, writer.published_seq, writer.objects) == (None, 0, ())
        with pytest.raises(StaleSeqError):
            writer.apply(change_set(1, WORLDS[0], WORLDS[1], TERRITORIES))
        writer.initialise(IDENTITY)
        assert (writer.epoch, writer.published_seq, writer.objects) == ("epoch-1", 0, IDENTITY.objects)


def test_a_store_of_another_history_needs_a_full_copy(writer: DeltaStoreWriter) -> None:
    writer.initialise(IDENTITY)
    before = content_of(writer)
    for other in (
        replace(IDENTITY, epoch="epoch-2"),
        replace(IDENTITY, cursor_key=b"x" * 32),
        replace(IDENTITY, objects=("account",)),
    ):
        with pytest.raises(StoreIdentityError, match="full copy"):
            writer.initialise(other)
    assert content_of(writer) == before
    writer.replace(full_copy(WORLDS, TERRITORIES, replace(IDENTITY, epoch="epoch-2")))
    assert (writer.epoch, writer.published_seq) == ("epoch-2", 4)


@pytest.mark.parametrize("seq", [3, 4, 6])
def test_a_publication_out_of_turn_is_refused(writer: DeltaStoreWriter, seq: int) -> None:
    before = content_of(writer)
    with pytest.raises(StaleSeqError):
        writer.apply(change_set(seq, WORLDS[3], WORLDS[4], TERRITORIES))
    assert content_of(writer) == before


def test_only_one_of_two_writers_publishes(writer: DeltaStoreWriter, location: StoreLocation) -> None:
    with DeltaStoreWriter(location) as other:
        other.apply(change_set(5, WORLDS[4], WORLDS[3], TERRITORIES))
        with pytest.raises(StaleSeqError):
            writer.apply(change_set(5, WORLDS[4], WORLDS[3], TERRITORIES))
        assert writer.published_seq == 5


@pytest.mark.parametrize(
    ("rows", "visibility", "heads"),
    [
        ([RowChange("martian", "M1", 1, 1, "{}")], [], []),
        ([RowChange("account", "A9", None, None, "{}")], [], []),
        ([RowChange("account", "A9", 1, 1, "{}"), RowChange("account", "A9", 2, 2, "{}")], [], []),
        ([], [VisibilityChange("T-NORTH", "account", "A9", entered=True)], []),
        ([], [VisibilityChange("T-NORTH", "account", "A1", entered=True)], []),
        ([], [VisibilityChange("T-SOUTH", "account", "A1", entered=True)] * 2, []),
        ([], [VisibilityChange("T-SOUTH", "account", "A1", entered=False)], []),
        ([], [], [TerritoryHead("T-NORTH", "account", 1, 1), TerritoryHead("T-NORTH", "account", 1, 1)]),
    ],
    ids=["object", "version", "twice", "unknown row", "enters again", "enters twice", "leaves unseen", "head twice"],
)
def test_a_change_set_that_contradicts_the_store_changes_nothing(
    writer: DeltaStoreWriter, rows: list[RowChange], visibility: list[VisibilityChange], heads: list[TerritoryHead]
) -> None:
    before = content_of(writer)
    with pytest.raises(ChangeSetError):
        writer.apply(ChangeSet(publication(5), rows, visibility_table(visibility), heads))
    assert content_of(writer) == before
    writer.apply(change_set(5, WORLDS[4], WORLDS[3], TERRITORIES))


def test_a_publication_applied_in_batches_leaves_the_same_store(
    writer: DeltaStoreWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = {territory: [A1, A3, ("contact", "C1"), ("order", "O1")] for territory in TERRITORIES}
    everywhere = world({A1: 2, A3: 2, ("contact", "C1"): 1, ("order", "O1"): 1}, everything)
    here_and_there = world({A1: 3, A2: 1, ("order", "O1"): 2}, {"T-EAST": [A2, A1], "T-NORTH": [A1, A2]})
    changed = [
        change_set(5, WORLDS[4], everywhere, TERRITORIES),
        change_set(6, everywhere, here_and_there, TERRITORIES),
    ]
    a_piece = 2
    assert all(len(each.visibility) > a_piece for each in changed)
    left = []
    for numbers_at_a_time in (moves.NUMBERS_AT_A_TIME, a_piece):
        monkeypatch.setattr(moves, "NUMBERS_AT_A_TIME", numbers_at_a_time)
        writer.replace(full_copy(WORLDS, TERRITORIES))
        for each in changed:
            writer.apply(each)
        content = content_of(writer)
        left.append([content[table] for table in ("row", "row_version", "visibility", "head")])
    assert left[0] == left[1]


def test_the_highest_interval_number_is_decoded_correctly(writer: DeltaStoreWriter) -> None:
    with closing(engine_at(writer.location).open_writer()) as connection:
        highest = connection.array(np.array([2**63 - 1]))
        assert connection.execute(moves.NUMBERED, {"numbers": highest}).get == (
            2**moves.TERRITORY_BITS - 1, 2**moves.OBJECT_BITS - 1, 2**moves.ROW_BITS - 1,
        )  # fmt: skip


def test_a_territory_key_too_large_for_an_interval_number_is_refused(writer: DeltaStoreWriter) -> None:
    with closing(engine_at(writer.location).open_writer()) as connection:
        connection.execute(INSERT_TERRITORY, (2**moves.TERRITORY_BITS, "T-FAR"))
    before = content_of(writer)
    entering = visibility_table([VisibilityChange("T-FAR", *A1, entered=True)])
    # On PostgreSQL only the writer opened last can write.
    refused = pytest.raises(ChangeSetError, match="at most 2,097,152 territories, 64 objects")
    with DeltaStoreWriter(writer.location) as newest, refused:
        newest.apply(ChangeSet(publication(5), [], entering))
    assert content_of(writer) == before


def test_a_failing_source_changes_nothing(writer: DeltaStoreWriter) -> None:
    def rows() -> Iterator[RowChange]:
        yield RowChange("account", "A9", 1, 1, "{}")
        raise RuntimeError("the warehouse went away")

    before = content_of(writer)
    with pytest.raises(RuntimeError, match="warehouse"):
        writer.apply(ChangeSet(publication(5), rows(), visibility_table([])))
    assert content_of(writer) == before


def test_a_realignment_writes_no_body(writer: DeltaStoreWriter) -> None:
    before = content_of(writer)
    moved = world({A1: 1, A3: 2, ("contact", "C1"): 1}, {"T-SOUTH": [A1, A3, ("contact", "C1")]})
    writer.apply(change_set(5, WORLDS[4], moved, TERRITORIES))
    after = content_of(writer)
    assert all(after[name] == before[name] for name in ("row", "row_version", "row_body"))


def test_times_never_run_backwards(writer: DeltaStoreWriter, location: StoreLocation) -> None:
    writer.apply(ChangeSet(replace(publication(5), published_at=START), [], visibility_table([])))
    reader = DeltaStoreReader(location)
    assert reader.publication_at(publication(4).published_at) == 5
    assert reader.publication_at(publication(3).published_at) == 3
    writer.confirm_as_of(START)
    assert reader.state(None).as_of == publication(5).as_of
    reader.close()


def test_a_territory_that_is_no_longer_listed_keeps_its_rows(writer: DeltaStoreWriter, location: StoreLocation) -> None:
    writer.set_territories([("T-NORTH", "North"), ("T-SOUTH", "South")])
    writer.set_territories([("T-SOUTH", "Sud")])
    reader = DeltaStoreReader(location)
    territories = reader.state(None).territories
    assert (territories["T-NORTH"].name, territories["T-SOUTH"].name) == (None, "Sud")
    assert territories["T-NORTH"].totals[0].rows == 1
    reader.close()


def test_pruning_removes_what_no_view_inside_the_horizon_needs(
    writer: DeltaStoreWriter, location: StoreLocation
) -> None:
    writer.prune(0, 3)
    assert not [row for row in content_of(writer)["row_version"] if cast(int, row[2]) <= 3 and row[5] is not None]
    writer.prune(4, 4)
    content = content_of(writer)
    for name in ("row_version", "visibility"):
        ends = [row[2 if name == "row_version" else 4] for row in content[name]]
        assert all(isinstance(end, int) and end > 4 for end in ends), name
        assert ends, name
    assert not [row for row in content["row"] if row[2] == "A2"], "nothing is left of the merged row"
    assert [row[0] for row in content["publication"]] == [4]
    before = content_of(writer)
    writer.prune(1, 1)
    assert content_of(writer) == before, "horizons never go back"
    with pytest.raises(ValueError, match="newest publication 4"):
        writer.prune(5, 5)
    reader = DeltaStoreReader(location)
    state = reader.state(None)
    north = {state.territories["T-NORTH"].key}
    with pytest.raises(HistoryExpiredError):
        reader.page(View(north, 3), View(north, 4), (), generation=state.generation, limit=10)
    reader.close()


def test_pruning_keeps_the_totals_that_held_at_the_body_horizon(
    writer: DeltaStoreWriter, location: StoreLocation
) -> None:
    reader = DeltaStoreReader(location)
    north = View({reader.state(None).territories["T-NORTH"].key}, 4)
    before = reader.totals(north, 3)
    writer.apply(change_set(5, WORLDS[4], WORLDS[1], TERRITORIES))
    writer.prune(0, 4)
    assert reader.totals(north, 3) == before
    assert len([head for head in content_of(writer)["head"] if head[0] in north.territories and head[1] == 0]) == 2
    reader.close()


def test_merges_are_remembered_until_the_row_returns(writer: DeltaStoreWriter) -> None:
    def merged() -> Any:
        with reading(writer.location) as connection:
            return connection.execute("SELECT merged_into FROM row WHERE row_id = 'A2'").get

    assert merged() == MERGED[A2]
    writer.apply(change_set(5, WORLDS[4], WORLDS[2], TERRITORIES))
    assert merged() is None


class AnyParameter(dict[str, int]):
    """A value for every named parameter of a statement."""

    def __missing__(self, name: str) -> int:
        return 1


def plan_of(writer: DeltaStoreWriter, sql: str) -> str:
    """SQLite's query plan."""
    with reading(writer.location) as connection:
        return "\n".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, AnyParameter()))


@pytest.mark.parametrize("engine", ["sqlite"])
def test_queries_of_devices_use_their_indexes(writer: DeltaStoreWriter) -> None:
    first_sync = plan_of(writer, questions.snapshot_page(questions.Shape(0, 0, 1, 0, continued=True)))
    assert "PRIMARY KEY (territory=? AND (object,row_key)>(?,?))" in first_sync
    assert "TEMP B-TREE" not in first_sync, "an ordered scan needs no sort"
    delta = plan_of(writer, questions.delta_page(questions.Shape(1, 0, 0, 0, continued=False)))
    assert "INDEX visibility_touched (territory=? AND touched_seq>?)" in delta
    assert "SCAN visibility" not in delta
    assert "SCAN row_version" not in delta


def test_queries_for_many_territories_give_the_same_differences_as_those_for_few(
    writer: DeltaStoreWriter, location: StoreLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = DeltaStoreReader(location)
    state = reader.state(None)
    both = {territory.key for territory in state.territories.values()}
    north = {state.territories["T-NORTH"].key}

    def differences() -> list[object]:
        questions.delta_page.cache_clear()
        return [
            reader.page(View(was, earlier), View(now, later), (), generation=state.generation, limit=limit)
            for later in range(5)
            for earlier in range(later + 1)
            for was, now in ((both, both), (north, both), (both, north))
            for limit in (1, 100)
        ]

    of_few = differences()
    monkeypatch.setattr(questions, "FEW_TERRITORIES", 0)
    assert differences() == of_few
    questions.delta_page.cache_clear()
    reader.close()


@pytest.mark.parametrize("engine", ["sqlite"])
def test_a_row_seen_by_many_territories_is_looked_up_by_the_row(writer: DeltaStoreWriter) -> None:
    plan = plan_of(writer, questions.delta_page(questions.Shape(9, 0, 0, 0, continued=True)))
    assert "SEARCH seen USING INDEX visibility_row (row_key=?)\n" in plan, plan


@pytest.mark.processes
def test_the_store_is_intact_and_can_be_written_after_its_writer_was_killed(location: StoreLocation) -> None:
    chance, last_seq = random.Random(7), 0
    kills = 0
    # On a busy machine more kills are needed, because a process may be killed before its first commit.
    while kills < 6 or last_seq <= 3:
        kills += 1
        assert kills < 50
        with killed_at_the_end(location) as published:
            for _ in range(chance.randint(1, 2)):
                published.recv()
            # Kill it at a random moment of the next publication.
            time.sleep(chance.uniform(0, 0.2))
        reader = DeltaStoreReader(location)
        state = reader.state(None)
        assert state.published_seq >= last_seq
        last_seq = state.published_seq
        if last_seq:
            territory = state.territories["T1"]
            assert territory.touched_seq == last_seq
            assert territory.totals[0].rows == row_count(last_seq)
            previous, now = View({territory.key}, last_seq - 1), View({territory.key}, last_seq)
            rows, after = reader.page(previous, now, (), generation=state.generation, limit=10_000)
            assert (len(rows), after) == (ROWS, None)
            assert all(row.body is not None and row.body.endswith(b'"seq":%d}' % last_seq) for row in rows)
        reader.close()
        if isinstance(location, Path):
            with reading(location) as connection:
                assert connection.execute("PRAGMA integrity_check").get == "ok"
