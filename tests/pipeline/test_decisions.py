"""What a person decides about held rows: released rows leave, rejected ones are read again, and the reason is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.pipeline.decisions import Decided, Decision, NothingHeldError, reject, release
from orchestration.pipeline.rebuild import UnknownTerritoryError
from orchestration.pipeline.warehouse import transaction
from tests.pipeline.guarded import ACCOUNTS, CATALOG, GuardedPipeline, accounts, orders

T1, T2 = (accounts(territory, range(ACCOUNTS // 2)) for territory in ("T1", "T2"))


@pytest.fixture
def pipeline(tmp_path: Path) -> GuardedPipeline:
    """Half of the accounts of T1 and T2, and all orders of T3, are held."""
    made = GuardedPipeline(tmp_path)
    made.hide("Account", [*T1, *T2])
    made.hide("Order", orders(accounts("T3", range(ACCOUNTS))))
    made.ask("order", orders(accounts("T3", range(ACCOUNTS))))
    made.run()
    assert set(made.held_counts()) == {("T1", "account"), ("T1", "order"), ("T2", "account"), ("T2", "order"),
                                       ("T3", "order")}  # fmt: skip
    return made


def decide(pipeline: GuardedPipeline, how: Callable[..., list[Decided]], **scope: object) -> list[Decided]:
    decision = Decision("it is meant", "Kim", **scope)  # type: ignore[arg-type]
    with pipeline.open() as connection, transaction(connection):
        return how(connection, CATALOG, decision, pipeline.now)


def test_what_is_released_leaves_with_what_hangs_on_it_and_the_rest_stays_held(pipeline: GuardedPipeline) -> None:
    assert decide(pipeline, release, territories=["North T1"]) == [Decided("T1", "North T1", len(T1))]
    result = pipeline.publish()
    assert result is not None
    assert result.deleted == 2 * len(T1)
    assert set(pipeline.held_counts()) == {("T2", "account"), ("T2", "order"), ("T3", "order")}
    assert pipeline.query("SELECT count(*) FROM doubtful_loss") == [(0,)]
    assert pipeline.query("SELECT decision, territory, object, rows, reason, decided_by FROM guard_decision") == [
        ("release", "T1", None, len(T1), "it is meant", "Kim")
    ]


def test_one_object_can_be_released_by_itself(pipeline: GuardedPipeline) -> None:
    decide(pipeline, release, object="order")
    pipeline.publish()
    assert set(pipeline.held_counts()) == {("T1", "account"), ("T1", "order"), ("T2", "account"), ("T2", "order")}
    assert pipeline.visible("T3", "order") == set()


def test_everything_can_be_released_at_once(pipeline: GuardedPipeline) -> None:
    decide(pipeline, release)
    pipeline.publish()
    assert pipeline.held() == {}
    assert pipeline.held_counts() == {}
    assert pipeline.visible("T1") == set(accounts("T1", range(ACCOUNTS // 2, ACCOUNTS)))
    assert pipeline.query("SELECT count(*) FROM doubtful_reading") == [(0,)]


def test_a_held_reading_with_content_is_published_as_it_was_read(tmp_path: Path) -> None:
    pipeline = GuardedPipeline(tmp_path)
    for account in T1:
        pipeline.put("Account", account, AccountName="renamed", TerritoryId=None)
        pipeline.tell("Account", [account])
    pipeline.run()
    decide(pipeline, release)
    pipeline.publish()
    renamed = pipeline.query("SELECT count(*) FROM snapshot.account WHERE AccountName = 'renamed' AND _state = 'live'")
    assert renamed == [(len(T1),)]


def test_what_is_rejected_is_read_again_and_stays_until_the_crm_shows_it(pipeline: GuardedPipeline) -> None:
    decide(pipeline, reject, territories=["T1"])
    asked = pipeline.query("SELECT value FROM read_requests WHERE reason = 'a held reading was rejected'")
    assert {value for (value,) in asked} == set(T1)
    before = pipeline.held()
    pipeline.run()
    assert pipeline.held() == before


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_blank_reason_is_refused(reason: str) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Decision(reason, "Kim")


def test_what_is_not_held_or_not_known_is_refused_by_name(pipeline: GuardedPipeline) -> None:
    with pytest.raises(UnknownTerritoryError, match="territory T9 is not known"):
        decide(pipeline, release, territories=["T9"])
    with pytest.raises(NothingHeldError, match=r"No reading is held there\. Held are: account in North T1"):
        decide(pipeline, release, territories=["T3"], object="account")
    with pytest.raises(NothingHeldError, match="There is no object visit; there are account"):
        decide(pipeline, release, object="visit")
    decide(pipeline, release)
    pipeline.publish()
    with pytest.raises(NothingHeldError, match="Nothing is held"):
        decide(pipeline, release)
