"""Recent changes of a view in memory: within the limits, and equal to what the store answers."""

from __future__ import annotations

import pytest

from delta_service.store import questions, reader
from delta_service.store.changes import OPEN_SEQ
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.recent import ROW_OVERHEAD_BYTES, Recent, RecentRow, recent_of
from delta_service.store.views import View
from tests.delta_service.conftest import A1, A2, A3, world
from tests.delta_service.model import World
from tests.delta_service.stores import Store, store_of

# A1 leaves T1 at publication 2 and returns at 4; A2 changes at 3.
SEEN_BY_T1 = [({A1: 1, A2: 1}, [A1, A2]), ({A1: 1, A2: 1}, [A2]), ({A1: 1, A2: 2}, [A2]), ({A1: 1, A2: 2}, [A1, A2])]
HISTORY = [World(), *(world(contents, {"T1": seen, "T2": [A1]}) for contents, seen in SEEN_BY_T1)]


def recent_row(versions: list[tuple[int, int, int]], body: bytes = b"{}") -> RecentRow:
    return RecentRow(0, 1, "A1", None, body, [(1, OPEN_SEQ)], versions)


def newest(store: Store, *territories: str) -> View:
    return store.view(frozenset(territories), store.writer.published_seq)


def recent(store: Store, view: View, few_rows: int = 100) -> Recent:
    return store.reader.recent(view, generation=store.state().generation, few_rows=few_rows)


def assert_equals_store(reader: DeltaStoreReader, view: View, found: Recent, generation: str) -> None:
    for seq in range(view.seq + 1):
        if found.start_of(seq) is not None:
            rows, _ = reader.page(View(view.territories, seq), view, (), generation=generation, limit=1000)
            assert found.difference(seq) == rows


def test_a_row_that_ended_at_the_earliest_known_publication_is_absent_there() -> None:
    found = recent_of([recent_row([(1, 3, 7), (5, OPEN_SEQ, 7)])], since_seq=3, now_seq=6)
    (insert,) = found.difference(3)
    assert not insert.was_visible
    assert found.difference(5) == []


def test_publications_with_the_same_difference_share_one_start() -> None:
    found = recent_of([recent_row([(1, 3, 7), (3, 5, 8), (5, OPEN_SEQ, 9)])], since_seq=1, now_seq=6)
    assert found.starts == [1, 5]


def test_the_size_in_memory_counts_the_bytes_of_bodies() -> None:
    small, large = (recent_of([recent_row([(1, OPEN_SEQ, 7)], b"x" * size)], 1, 2).size_bytes for size in (1, 9_001))
    assert large - small == 9_000
    assert small > ROW_OVERHEAD_BYTES


@pytest.mark.parametrize("few_rows", range(4))
def test_changes_before_the_earliest_known_publication_are_not_included(few_rows: int) -> None:
    with store_of("sqlite", HISTORY) as store:
        store.publish_all()
        view = newest(store, "T1")
        found = recent(store, view, few_rows)
        assert found.starts[0] == (4, 3, 2, 0)[few_rows]
        assert found.row_count == min(few_rows, 2)
        assert_equals_store(store.reader, view, found, store.state().generation)


def test_nothing_is_kept_of_rows_with_a_long_history(monkeypatch: pytest.MonkeyPatch) -> None:
    with store_of("sqlite", HISTORY) as store:
        store.publish_all()
        view = newest(store, "T1")
        assert recent(store, view).starts[0] == 0
        # There are three versions: one of A1, two of A2.
        for most, earliest in ((3, 0), (2, view.seq), (1, view.seq)):
            monkeypatch.setattr(reader, "RECENT_VERSIONS", most)
            found = recent(store, view)
            assert found.starts[0] == earliest
            assert_equals_store(store.reader, view, found, store.state().generation)


def test_territories_share_the_number_of_rows_kept_and_many_territories_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {"T1": [A1, A2], "T2": [A3]}
    history = [World(), *(world({A1: n, A2: n, A3: n}, seen) for n in (1, 2)), world({A1: 3, A2: 2, A3: 3}, seen)]
    with store_of("sqlite", history) as store:
        store.publish_all()
        view = newest(store, "T1", "T2")
        # Each territory may have half of the rows: one row, then none.
        assert recent(store, view, few_rows=2).starts[0] == 2
        assert recent(store, view, few_rows=1).starts[0] == 3
        monkeypatch.setattr(questions, "FEW_TERRITORIES", 1)
        assert recent(store, view).starts == [view.seq]
