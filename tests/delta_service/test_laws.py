"""The five laws of the contract, on the real store, against the naive model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delta_service.store.reader import DeltaRow, DeltaStoreReader, StoreState, Total, View
from delta_service.store.schema import unsigned
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.model import IDENTITY, OBJECTS, Row, World, change_set, full_copy, version_of

TERRITORIES = ("T1", "T2", "T3")
ROWS: tuple[Row, ...] = tuple((name, f"R{number}") for name in OBJECTS[:2] for number in range(2))

# Hypothesis' own strategies prefer small and empty things, in which hardly ever a row changes while it is visible.
# So it gives the dice, and these functions throw them.
CHANCE = st.randoms(use_true_random=True)
History = list[dict[Row, tuple[int, frozenset[str]] | None]]
"""Per publication, the rows that change: their content (None: the row ends) and the territories that see them."""

property_test = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def random_scope(chance: Random) -> frozenset[str]:
    return frozenset(territory for territory in TERRITORIES if chance.random() < 0.6)


def random_worlds(chance: Random) -> list[World]:
    """A history of few rows and few values, so that things come back; often only the content of a row changes."""
    seen: dict[Row, frozenset[str]] = {}
    history: History = []
    for _ in range(chance.randint(2, 9)):
        step: dict[Row, tuple[int, frozenset[str]] | None] = {}
        for row in chance.sample(ROWS, chance.randint(0, 4)):
            if row not in seen or chance.random() < 0.4:
                seen[row] = random_scope(chance)
            step[row] = None if chance.random() < 0.15 else (chance.randint(0, 1), seen[row])
        history.append(step)
    return worlds_of(history)


def worlds_of(history: History) -> list[World]:
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


def ordered_pair(chance: Random, low: int, high: int) -> list[int]:
    return sorted((chance.randint(low, high), chance.randint(low, high)))


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


@given(CHANCE)
@property_test
def test_a_delta_leads_from_any_view_to_any_other_and_is_minimal(chance):
    worlds = random_worlds(chance)
    with store_of(worlds) as store:
        store.publish_all()
        for _ in range(5):
            was_seq, now_seq = ordered_pair(chance, 0, len(worlds) - 1)
            was, now = (random_scope(chance), was_seq), (random_scope(chance), now_seq)
            assert_exact(store, was, now, store.delta(was, now))


@given(CHANCE)
@property_test
def test_two_deltas_in_a_row_equal_the_direct_one(chance):
    worlds = random_worlds(chance)
    with store_of(worlds) as store:
        store.publish_all()
        seqs = sorted(chance.randint(0, len(worlds) - 1) for _ in range(3))
        views = list(zip((random_scope(chance) for _ in range(3)), seqs, strict=True))
        start = worlds[seqs[0]].view(views[0][0])
        step_by_step = store.delta(views[1], views[2]).applied_to(store.delta(views[0], views[1]).applied_to(start))
        assert step_by_step == store.delta(views[0], views[2]).applied_to(start)


@given(CHANCE)
@property_test
def test_pages_stay_at_their_publication_whatever_is_published_between_them(chance):
    worlds = random_worlds(chance)
    with store_of(worlds) as store:
        now_seq = chance.randint(1, len(worlds) - 1)
        for _ in range(now_seq):
            store.publish_next()
        was = (random_scope(chance), chance.randint(0, now_seq))
        now = (random_scope(chance), now_seq)
        whole = store.delta(was, now)
        assert store.delta(was, now, chance.randint(1, 3), publish=True) == whole
        assert_exact(store, was, now, whole)


@given(CHANCE)
@property_test
def test_pruning_changes_no_answer_inside_the_horizon(chance):
    worlds = random_worlds(chance)
    newest = len(worlds) - 1
    with store_of(worlds) as store:
        store.publish_all()
        horizon = chance.randint(0, newest)
        body_horizon = chance.randint(horizon, newest)
        store.writer.prune(horizon, body_horizon)
        for _ in range(5):
            now_seq = chance.randint(body_horizon, newest)
            was, now = (random_scope(chance), chance.randint(horizon, now_seq)), (random_scope(chance), now_seq)
            assert_exact(store, was, now, store.delta(was, now))


@given(CHANCE)
@property_test
def test_a_full_copy_answers_like_the_store_it_replaces(chance):
    worlds = random_worlds(chance)
    with store_of(worlds) as store:
        copied = chance.randint(0, len(worlds) - 1)
        store.writer.replace(full_copy(worlds[: copied + 1], TERRITORIES))
        assert store.writer.published_seq == copied
        store.publish_all()
        for _ in range(5):
            was_seq, now_seq = ordered_pair(chance, 0, len(worlds) - 1)
            was, now = (random_scope(chance), was_seq), (random_scope(chance), now_seq)
            assert_exact(store, was, now, store.delta(was, now))


@given(CHANCE)
@property_test
def test_totals_are_those_of_the_view_at_every_publication_kept_in_full(chance):
    worlds = random_worlds(chance)
    with store_of(worlds) as store:
        store.publish_all()
        scope, seq = random_scope(chance), chance.randint(0, len(worlds) - 1)
        store.writer.prune(0, chance.randint(0, seq))
        whole = World(worlds[seq].bodies, frozenset(("*", row) for row in worlds[seq].view(scope)))
        expected = tuple(Total(*whole.heads(["*"])["*", name]) for name in OBJECTS)
        assert store.reader.totals(store.view(scope, seq), len(OBJECTS)) == expected


@given(CHANCE)
@property_test
def test_the_state_kept_up_to_date_equals_the_state_read_afresh(chance):
    worlds = random_worlds(chance)
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
