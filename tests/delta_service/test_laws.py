"""The five laws of the contract, on the real store, against the naive model.

``LAW_CASES=2500 .venv/bin/pytest tests/delta_service/test_laws.py`` tries 2,500 generated histories on each law.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delta_service.store.views import Total
from tests.delta_service.conftest import ENGINES
from tests.delta_service.model import OBJECTS, Row, World, full_copy
from tests.delta_service.stores import TERRITORIES, Delta, Store, buckets_of, store_of
from tests.postgres.cluster import require_postgres

ROWS: tuple[Row, ...] = tuple((name, f"R{number}") for name in OBJECTS[:2] for number in range(2))

# Hypothesis' own strategies prefer small and empty values, in which a row hardly ever changes while it is visible.
# So Hypothesis provides only the random numbers, and the functions below build histories from them.
CHANCE = st.randoms(use_true_random=True)
Step = dict[Row, tuple[int, frozenset[str]] | None]
"""The rows that a publication changes: their content (None: the row ends) and the territories that see them."""

CASES = int(os.environ.get("LAW_CASES", "150"))
# A step takes ten times as long on PostgreSQL. The SQL is the same, so fewer histories are enough.
CASES_ON = {"sqlite": CASES, "postgres": CASES // 10}
# Laws with many cases take longer than the time limit of a single test.
pytestmark = pytest.mark.timeout(120 + CASES)


def law(holds: Callable[[str, Random], None]) -> Callable[[str], None]:
    """A property of random histories, tested on each engine."""

    @pytest.mark.parametrize("engine", ENGINES)
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
    """A history of few rows and few values, so that rows return and often only the content of a row changes."""
    seen: dict[Row, frozenset[str]] = {}
    history: list[Step] = []
    for _ in range(chance.randint(2, 9)):
        step: Step = {}
        for row in chance.sample(ROWS, chance.randint(0, 4)):
            if row not in seen or chance.random() < 0.4:
                seen[row] = random_scope(chance)
            step[row] = None if chance.random() < 0.15 else (chance.randint(0, 1), seen[row])
        history.append(step)
    return worlds_of(history)


def worlds_of(history: list[Step]) -> list[World]:
    worlds: list[World] = [World()]
    state: Step = {}
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


def ordered_pair(chance: Random, low: int, high: int) -> list[int]:
    return sorted((chance.randint(low, high), chance.randint(low, high)))


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
def test_recent_changes_in_memory_equal_what_the_store_answers(engine: str, chance: Random) -> None:
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
def test_two_consecutive_deltas_equal_the_direct_one(engine: str, chance: Random) -> None:
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
def test_the_state_updated_step_by_step_equals_the_state_read_anew(engine: str, chance: Random) -> None:
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
def test_a_repair_leads_from_any_rows_to_the_view_and_contains_only_the_difference(engine: str, chance: Random) -> None:
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
