"""The five laws of the contract, on the real store, against the naive model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delta_service.store.reader import DeltaRow, DeltaStoreReader, StoreState, Total, View
from delta_service.store.schema import unsigned
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.model import IDENTITY, OBJECTS, Row, World, change_set, full_copy, version_of

TERRITORIES = ("T1", "T2", "T3")
ROWS: tuple[Row, ...] = tuple((name, f"R{number}") for name in OBJECTS[:2] for number in range(2))

SCOPES = st.frozensets(st.sampled_from(TERRITORIES))
# Per row: its content (none: it does not exist) and the territories that see it. Few values, so that things come back.
ROW_STATE = st.one_of(st.none(), st.tuples(st.integers(0, 1), st.frozensets(st.sampled_from(TERRITORIES))))
STEP = st.dictionaries(st.sampled_from(ROWS), ROW_STATE, max_size=4)
HISTORIES = st.lists(STEP, min_size=3, max_size=10)

property_test = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def worlds_of(history: list[dict[Row, tuple[int, frozenset[str]] | None]]) -> list[World]:
    worlds, state = [World()], {}
    for step in history:
        state = {**state, **step}
        live = {row: value for row, value in state.items() if value is not None}
        worlds.append(
            World(
                {row: f'{{"{row[0]}Id":"{row[1]}","name":"{content}"}}' for row, (content, _) in live.items()},
                frozenset((territory, row) for row, (_, seen_by) in live.items() for territory in seen_by),
            )
        )
    return worlds


@dataclass
class Delta:
    insert: dict[Row, str]
    update: dict[Row, str]
    deleted: set[Row]

    def applied_to(self, view: dict[Row, str]) -> dict[Row, str]:
        assert not self.insert.keys() & view.keys()
        assert self.update.keys() <= view.keys()
        assert self.deleted <= view.keys()
        return {row: body for row, body in view.items() if row not in self.deleted} | self.update | self.insert


@dataclass
class Store:
    writer: DeltaStoreWriter
    reader: DeltaStoreReader
    worlds: list[World]

    def publish_next(self) -> bool:
        seq = self.writer.published_seq + 1
        if seq >= len(self.worlds):
            return False
        self.writer.apply(change_set(seq, self.worlds[seq - 1], self.worlds[seq], TERRITORIES))
        return True

    def publish_all(self) -> None:
        while self.publish_next():
            pass

    def state(self) -> StoreState:
        return self.reader.state(None)

    def view(self, scope: frozenset[str], seq: int) -> View:
        known = self.state().territories
        return View({known[territory].key for territory in scope if territory in known}, seq)

    def delta(
        self,
        was: tuple[frozenset[str], int],
        now: tuple[frozenset[str], int],
        limit: int = 1000,
        *,
        publish: bool = False,
    ) -> Delta:
        """Read page by page; with ``publish``, a publication happens between any two pages."""
        delta, after, row_ids = Delta({}, {}, set()), None, self._row_ids()
        views = self.view(*was), self.view(*now)
        while True:
            rows, after = self.reader.page(*views, (), generation=self.state().generation, limit=limit, after=after)
            assert len(rows) <= limit
            for row in rows:
                self._note(delta, row, row_ids)
            if after is None:
                return delta
            if publish:
                self.publish_next()

    def _row_ids(self) -> dict[int, Row]:
        connection = self.writer._connection
        return {key: (OBJECTS[obj], id_) for key, obj, id_ in connection.execute("SELECT key, object, row_id FROM row")}

    def _note(self, delta: Delta, found: DeltaRow, row_ids: dict[int, Row]) -> None:
        row = row_ids[found.row_key]
        assert row not in delta.insert.keys() | delta.update.keys() | delta.deleted, "law 2: named once"
        if found.body is None:
            assert found.row_id == row[1]
            delta.deleted.add(row)
        else:
            body = found.body.decode()
            assert found.version is not None
            assert unsigned(found.version) == version_of(body)
            (delta.update if found.was_visible else delta.insert)[row] = body


def ordered_pair(data: st.DataObject, low: int, high: int) -> list[int]:
    return sorted((data.draw(st.integers(low, high)), data.draw(st.integers(low, high))))


@contextmanager
def store_of(worlds: list[World]) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "delta.sqlite"
        with DeltaStoreWriter(path) as writer:
            writer._connection.execute("PRAGMA synchronous = OFF")
            writer.initialise(IDENTITY)
            reader = DeltaStoreReader(path)
            yield Store(writer, reader, worlds)
            reader.close()


def assert_exact(store: Store, was: tuple[frozenset[str], int], now: tuple[frozenset[str], int], delta: Delta) -> None:
    before, after = store.worlds[was[1]].view(was[0]), store.worlds[now[1]].view(now[0])
    assert delta.applied_to(before) == after, "law 1: the delta leads from one view to the other"
    for row in before.keys() & after.keys():
        assert (row in delta.update) == (before[row] != after[row]), "law 3: equal rows appear nowhere"


@given(HISTORIES, SCOPES, SCOPES, st.data())
@property_test
def test_a_delta_leads_from_any_view_to_any_other_and_is_minimal(history, scope_was, scope_now, data):
    worlds = worlds_of(history)
    with store_of(worlds) as store:
        store.publish_all()
        was_seq, now_seq = ordered_pair(data, 0, len(worlds) - 1)
        was, now = (scope_was, was_seq), (scope_now, now_seq)
        assert_exact(store, was, now, store.delta(was, now))


@given(HISTORIES, SCOPES, SCOPES, SCOPES, st.data())
@property_test
def test_two_deltas_in_a_row_equal_the_direct_one(history, first, second, third, data):
    worlds = worlds_of(history)
    with store_of(worlds) as store:
        store.publish_all()
        seqs = sorted(data.draw(st.integers(0, len(worlds) - 1)) for _ in range(3))
        views = list(zip((first, second, third), seqs, strict=True))
        start = worlds[seqs[0]].view(first)
        step_by_step = store.delta(views[1], views[2]).applied_to(store.delta(views[0], views[1]).applied_to(start))
        assert step_by_step == store.delta(views[0], views[2]).applied_to(start)


@given(HISTORIES, SCOPES, SCOPES, st.integers(1, 4), st.data())
@property_test
def test_pages_stay_at_their_publication_whatever_is_published_between_them(history, scope_was, scope_now, limit, data):
    worlds = worlds_of(history)
    with store_of(worlds) as store:
        now_seq = data.draw(st.integers(1, len(worlds) - 1))
        for _ in range(now_seq):
            store.publish_next()
        was = (scope_was, data.draw(st.integers(0, now_seq)))
        now = (scope_now, now_seq)
        whole = store.delta(was, now)
        assert store.delta(was, now, limit, publish=True) == whole
        assert_exact(store, was, now, whole)


@given(HISTORIES, SCOPES, SCOPES, st.data())
@property_test
def test_pruning_changes_no_answer_inside_the_horizon(history, scope_was, scope_now, data):
    worlds = worlds_of(history)
    newest = len(worlds) - 1
    with store_of(worlds) as store:
        store.publish_all()
        horizon = data.draw(st.integers(0, newest))
        body_horizon = data.draw(st.integers(horizon, newest))
        store.writer.prune(horizon, body_horizon)
        now_seq = data.draw(st.integers(body_horizon, newest))
        was, now = (scope_was, data.draw(st.integers(horizon, now_seq))), (scope_now, now_seq)
        assert_exact(store, was, now, store.delta(was, now))


@given(HISTORIES, SCOPES, SCOPES, st.data())
@property_test
def test_a_full_copy_answers_like_the_store_it_replaces(history, scope_was, scope_now, data):
    worlds = worlds_of(history)
    with store_of(worlds) as store:
        copied = data.draw(st.integers(0, len(worlds) - 1))
        store.writer.replace(full_copy(worlds[: copied + 1], TERRITORIES))
        assert store.writer.published_seq == copied
        store.publish_all()
        was_seq, now_seq = ordered_pair(data, 0, len(worlds) - 1)
        was, now = (scope_was, was_seq), (scope_now, now_seq)
        assert_exact(store, was, now, store.delta(was, now))


@given(HISTORIES, SCOPES, st.data())
@property_test
def test_totals_are_those_of_the_view_at_every_publication_kept_in_full(history, scope, data):
    worlds = worlds_of(history)
    with store_of(worlds) as store:
        store.publish_all()
        seq = data.draw(st.integers(0, len(worlds) - 1))
        store.writer.prune(0, data.draw(st.integers(0, seq)))
        whole = World(worlds[seq].bodies, frozenset(("*", row) for row in worlds[seq].view(scope)))
        expected = tuple(Total(*whole.heads(["*"])["*", name]) for name in OBJECTS)
        assert store.reader.totals(store.view(scope, seq), len(OBJECTS)) == expected


@given(HISTORIES)
@property_test
def test_the_state_kept_up_to_date_equals_the_state_read_afresh(history):
    worlds = worlds_of(history)
    with store_of(worlds) as store:
        state = store.state()
        while store.publish_next():
            state = store.reader.state(state)
            assert state == store.state()
        for territory in state.territories.values():
            heads = worlds[-1].heads([territory.id])
            assert territory.totals == tuple(Total(*heads[territory.id, name]) for name in OBJECTS)
            views = [world.view([territory.id]) for world in worlds]
            changes = [seq for seq in range(1, len(worlds)) if views[seq] != views[seq - 1]]
            assert territory.touched_seq == max(changes, default=0)
