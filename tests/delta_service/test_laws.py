"""The five laws of the contract, on the real store, against the naive model.

``LAW_CASES=2500 .venv/bin/pytest tests/delta_service/test_laws.py`` tries 2,500 generated histories on each law.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delta_service.buckets import bucket_digests
from delta_service.difference import Held, differing_rows
from delta_service.store.engine import StoreLocation
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.schema import unsigned
from delta_service.store.views import DeltaRow, StoreState, Total, View
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.model import IDENTITY, OBJECTS, Row, World, change_set, digest_of, full_copy, version_of
from tests.postgres.cluster import new_location, require_postgres

TERRITORIES = ("T1", "T2", "T3")
ROWS: tuple[Row, ...] = tuple((name, f"R{number}") for name in OBJECTS[:2] for number in range(2))

# Hypothesis' own strategies prefer small and empty things, in which hardly ever a row changes while it is visible.
# So it gives the dice, and these functions throw them.
CHANCE = st.randoms(use_true_random=True)
History = list[dict[Row, tuple[int, frozenset[str]] | None]]
"""Per publication, the rows that change: their content (None: the row ends) and the territories that see them."""

CASES = int(os.environ.get("LAW_CASES", "150"))
# A step costs PostgreSQL ten times as much: its SQL is the same, so fewer histories will do.
CASES_ON = {"sqlite": CASES, "postgres": CASES // 10}
# Laws with many cases outlast the time limit of a single test.
pytestmark = pytest.mark.timeout(120 + CASES)


def law(holds: Callable[[str, Random], None]) -> Callable[[str], None]:
    """A property of random histories, tested on each engine."""

    @pytest.mark.parametrize("engine", CASES_ON)
    def on(engine: str) -> None:
        if engine == "postgres":
            require_postgres()

        def case(chance: Random) -> None:
            holds(engine, chance)

        case.__name__ = holds.__name__
        any_case = given(CHANCE)(case)
        settings(max_examples=CASES_ON[engine], deadline=None, suppress_health_check=[HealthCheck.too_slow])(any_case)()

    on.__name__ = holds.__name__
    return on


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
    location: StoreLocation
    worlds: list[World]
    opened: DeltaStoreReader | None = None

    @property
    def reader(self) -> DeltaStoreReader:
        """Of what is at the location now: a full copy may have replaced the store."""
        if self.opened is None or not self.opened.is_current():
            self.close()
            self.opened = DeltaStoreReader(self.location)
        return self.opened

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()

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
        or_later: bool = False,
    ) -> Delta:
        """Read page by page; with ``publish``, a publication happens between any two pages."""
        delta, after, row_ids = Delta({}, {}, set()), None, self._row_ids()
        views = self.view(*was), self.view(*now)
        while True:
            rows, after = self.reader.page(
                *views, (), generation=self.state().generation, limit=limit, after=after, or_later=or_later
            )
            assert len(rows) <= limit
            for row in rows:
                self._note(delta, row, row_ids)
            if after is None:
                return delta
            if publish:
                self.publish_next()

    def bucket_digests(self, scope: frozenset[str], seq: int) -> list[list[int]]:
        contents = self.reader.contents(self.view(scope, seq), (), generation=self.state().generation)
        return [list(digests) for digests in bucket_digests(contents, len(OBJECTS))]

    def repair(self, held: dict[Row, str], scope: frozenset[str], seq: int) -> Delta:
        """Both rounds of a reconcile."""
        pairs = zip(buckets_of(held), self.bucket_digests(scope, seq), strict=True)
        asked = {}
        for key, (theirs, ours) in enumerate(pairs):
            differing = frozenset(bucket for bucket in range(256) if theirs[bucket] != ours[bucket])
            versions = {
                row[1]: f"{version_of(body):016x}"
                for row, body in held.items()
                if row[0] == OBJECTS[key] and bucket_of(row) in differing
            }
            asked[key] = Held(differing, versions)
        view, delta = self.view(scope, seq), Delta({}, {}, set())
        for found in differing_rows(self.reader, view, asked, generation=self.state().generation, max_rows=1000):
            if found.body is None:
                assert found.row_id is not None
                delta.deleted.add((OBJECTS[found.object], found.row_id))
            else:
                self._note(delta, found, self._row_ids())
        return delta

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


def bucket_of(row: Row) -> int:
    return hashlib.sha256(row[1].encode()).digest()[0]


def buckets_of(view: dict[Row, str]) -> list[list[int]]:
    sums = [[0] * 256 for _ in OBJECTS]
    for row, body in view.items():
        sums[OBJECTS.index(row[0])][bucket_of(row)] += digest_of(row, body)
    return [[total % 2**64 for total in totals] for totals in sums]


def ordered_pair(chance: Random, low: int, high: int) -> list[int]:
    return sorted((chance.randint(low, high), chance.randint(low, high)))


@contextmanager
def store_of(engine: str, worlds: list[World]) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as home:
        location = new_location(engine, Path(home))
        with DeltaStoreWriter(location) as writer:
            writer.initialise(IDENTITY)
            if engine == "sqlite":
                writer._connection.execute("PRAGMA synchronous = OFF")
            with closing(Store(writer, location, worlds)) as store:
                yield store


def assert_exact(store: Store, was: tuple[frozenset[str], int], now: tuple[frozenset[str], int], delta: Delta) -> None:
    before, after = store.worlds[was[1]].view(was[0]), store.worlds[now[1]].view(now[0])
    assert delta.applied_to(before) == after, "law 1: the delta leads from one view to the other"
    for row in before.keys() & after.keys():
        assert (row in delta.update) == (before[row] != after[row]), "law 3: equal rows appear nowhere"


@law
def test_a_delta_leads_from_any_view_to_any_other_and_is_minimal(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
        store.publish_all()
        for _ in range(5):
            was_seq, now_seq = ordered_pair(chance, 0, len(worlds) - 1)
            was, now = (random_scope(chance), was_seq), (random_scope(chance), now_seq)
            assert_exact(store, was, now, store.delta(was, now))


@law
def test_a_delta_since_a_time_leads_from_each_view_since_then_and_names_no_row_without_need(
    engine: str, chance: Random
) -> None:
    worlds = random_worlds(chance)
    newest = len(worlds) - 1
    with store_of(engine, worlds) as store:
        now_seq = chance.randint(1, newest)
        for _ in range(now_seq):
            store.publish_next()
        store.writer.prune(horizon := chance.randint(0, now_seq - 1), chance.randint(horizon, now_seq - 1))
        for scope in (random_scope(chance), frozenset({chance.choice(TERRITORIES)})):
            was_seq = chance.randint(horizon, now_seq)
            views = [worlds[seq].view(scope) for seq in range(was_seq, now_seq + 1)]
            views_of = (scope, was_seq), (scope, now_seq)
            delta = store.delta(*views_of, chance.choice([1, 2, 1000]), or_later=True)
            assert delta == store.delta(*views_of, 1, or_later=True, publish=True), "pages stay at their publication"
            for view in views:
                applied = {row: body for row, body in view.items() if row not in delta.deleted}
                assert applied | delta.insert | delta.update == views[-1]
            told = delta.insert.keys() | delta.update.keys() | delta.deleted
            rows = {row for view in views for row in view}
            assert told == {row for row in rows if any(view.get(row) != views[-1].get(row) for view in views)}
            assert delta.insert.keys().isdisjoint(views[0])


@law
def test_what_is_told_from_memory_is_what_the_store_would_say(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    newest = len(worlds) - 1
    with store_of(engine, worlds) as store:
        store.publish_all()
        store.writer.prune(horizon := chance.randint(0, newest), body_horizon := chance.randint(horizon, newest))
        scope, now_seq = random_scope(chance), chance.randint(body_horizon, newest)
        now, generation = store.view(scope, now_seq), store.state().generation
        few_rows = chance.choice([0, 1, 2, 3, 100])
        recent = store.reader.recent(now, generation=generation, few_rows=few_rows)
        assert horizon <= recent.starts[0] <= now_seq
        assert recent.start_of(recent.starts[0] - 1) is None
        for seq in range(horizon, now_seq + 1):
            start_seq = recent.start_of(seq)
            if start_seq is None:
                assert seq < recent.starts[0]
                continue
            rows, _ = store.reader.page(store.view(scope, seq), now, (), generation=generation, limit=1000)
            assert recent.difference(seq) == rows
            assert len(rows) <= few_rows
            assert recent.difference(start_seq) == rows, "all between two starts have the same difference"


@law
def test_two_deltas_in_a_row_equal_the_direct_one(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
        store.publish_all()
        seqs = sorted(chance.randint(0, len(worlds) - 1) for _ in range(3))
        views = list(zip((random_scope(chance) for _ in range(3)), seqs, strict=True))
        start = worlds[seqs[0]].view(views[0][0])
        step_by_step = store.delta(views[1], views[2]).applied_to(store.delta(views[0], views[1]).applied_to(start))
        assert step_by_step == store.delta(views[0], views[2]).applied_to(start)


@law
def test_pages_stay_at_their_publication_whatever_is_published_between_them(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
        now_seq = chance.randint(1, len(worlds) - 1)
        for _ in range(now_seq):
            store.publish_next()
        was = (random_scope(chance), chance.randint(0, now_seq))
        now = (random_scope(chance), now_seq)
        whole = store.delta(was, now)
        assert store.delta(was, now, chance.randint(1, 3), publish=True) == whole
        assert_exact(store, was, now, whole)


@law
def test_pruning_changes_no_answer_inside_the_horizon(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    newest = len(worlds) - 1
    with store_of(engine, worlds) as store:
        store.publish_all()
        horizon = chance.randint(0, newest)
        body_horizon = chance.randint(horizon, newest)
        store.writer.prune(horizon, body_horizon)
        for _ in range(5):
            now_seq = chance.randint(body_horizon, newest)
            was, now = (random_scope(chance), chance.randint(horizon, now_seq)), (random_scope(chance), now_seq)
            assert_exact(store, was, now, store.delta(was, now))


@law
def test_a_full_copy_answers_like_the_store_it_replaces(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
        copied = chance.randint(0, len(worlds) - 1)
        store.writer.replace(full_copy(worlds[: copied + 1], TERRITORIES))
        assert store.writer.published_seq == copied
        store.publish_all()
        for _ in range(5):
            was_seq, now_seq = ordered_pair(chance, 0, len(worlds) - 1)
            was, now = (random_scope(chance), was_seq), (random_scope(chance), now_seq)
            assert_exact(store, was, now, store.delta(was, now))


@law
def test_totals_are_those_of_the_view_at_every_publication_kept_in_full(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
        store.publish_all()
        scope, seq = random_scope(chance), chance.randint(0, len(worlds) - 1)
        store.writer.prune(0, chance.randint(0, seq))
        whole = World(worlds[seq].bodies, frozenset(("*", row) for row in worlds[seq].view(scope)))
        expected = tuple(Total(*whole.heads(["*"])["*", name]) for name in OBJECTS)
        assert store.reader.totals(store.view(scope, seq), len(OBJECTS)) == expected


@law
def test_the_state_kept_up_to_date_equals_the_state_read_afresh(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
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


@law
def test_a_repair_leads_from_anything_to_the_view_and_names_only_the_difference(engine: str, chance: Random) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
        store.publish_all()
        scope, seq = random_scope(chance), chance.randint(0, len(worlds) - 1)
        view = worlds[seq].view(scope)
        assert store.bucket_digests(scope, seq) == buckets_of(view)
        held = chance.choice(worlds).view(random_scope(chance))
        for row in chance.sample(ROWS, chance.randint(0, 2)):
            held[row] = f'{{"{row[0]}Id":"{row[1]}","name":"damaged"}}'
        delta = store.repair(held, scope, seq)
        assert delta.applied_to(held) == view
        assert not {row for row in delta.update if held[row] == view[row]}
        assert store.repair(view, scope, seq) == Delta({}, {}, set())


@law
def test_a_device_follows_through_publications_pruning_rebuilding_and_changes_of_scope(
    engine: str, chance: Random
) -> None:
    worlds = random_worlds(chance)
    with store_of(engine, worlds) as store:
        scope, seq, held = random_scope(chance), 0, dict[Row, str]()
        for _ in range(3 * len(worlds)):
            published, state = store.writer.published_seq, store.state()
            match chance.choice(("publish", "publish", "sync", "sync", "prune", "rebuild", "scope", "damage")):
                case "publish":
                    store.publish_next()
                case "prune":
                    horizon = chance.randint(0, published)
                    store.writer.prune(horizon, chance.randint(horizon, published))
                case "rebuild":
                    store.writer.replace(full_copy(worlds[: published + 1], TERRITORIES))
                case "scope":
                    new_scope = random_scope(chance)
                    if seq >= state.horizon_seq:
                        held = store.delta((scope, seq), (new_scope, published), chance.randint(1, 4)).applied_to(held)
                    else:
                        held = store.repair(held, new_scope, published).applied_to(held)
                    scope, seq = new_scope, published
                case "sync" if seq >= state.horizon_seq:
                    held = store.delta((scope, seq), (scope, published), chance.randint(1, 4)).applied_to(held)
                    seq = published
                case "sync" | "damage":
                    held = {row: body for row, body in held.items() if chance.random() < 0.7}
                    held = store.repair(held, scope, published).applied_to(held)
                    seq = published
            assert held == worlds[seq].view(scope)
