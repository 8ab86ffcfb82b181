"""What an answer lacks proves nothing by itself: a time-out in the CRM looks like an empty list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.catalog import CatalogObject
from orchestration.pipeline.requests import ReadRequest, store_requests
from orchestration.pipeline.warehouse import utc_now
from tests.pipeline.guarded import START, GuardedPipeline, accounts

EIGHT = accounts("T1", range(8))


@pytest.fixture
def pipeline(tmp_path: Path) -> GuardedPipeline:
    """The guard would let losses of this size pass."""
    return GuardedPipeline(tmp_path)


def edit(pipeline: GuardedPipeline, row_ids: Sequence[str], name: str) -> None:
    for row_id in row_ids:
        pipeline.put("Account", row_id, AccountName=name)
    pipeline.tell("Account", row_ids)


def named(pipeline: GuardedPipeline, name: str) -> set[str]:
    return {str(row[0]) for row in pipeline.query(f"SELECT row_id FROM snapshot.account WHERE AccountName = '{name}'")}


def waiting(pipeline: GuardedPipeline) -> set[str]:
    return {str(row[0]) for row in pipeline.query("SELECT value FROM read_requests WHERE kind = 'id'")}


def published_as_of(pipeline: GuardedPipeline) -> str:
    """Up to when all changes are in, as devices are told."""
    return str(pipeline.query("SELECT value FROM state WHERE name = 'as_of'")[0][0])


def asked_for(pipeline: GuardedPipeline, row_id: str) -> int:
    return sum(row_id in ids for _, ids in pipeline.crm.asked)


def test_an_empty_answer_costs_no_row_and_the_same_run_asks_again(pipeline: GuardedPipeline) -> None:
    before = pipeline.visible("T1"), pipeline.visible("T1", "order")
    edit(pipeline, EIGHT, "edited")
    pipeline.crm.empty_answers["Account"] = 2
    published = pipeline.run()
    assert published is not None
    assert published.deleted == 0
    assert named(pipeline, "edited") == set(EIGHT)
    assert (pipeline.visible("T1"), pipeline.visible("T1", "order")) == before


def test_rows_without_a_sound_answer_keep_their_content_and_block_nobody(pipeline: GuardedPipeline) -> None:
    edit(pipeline, EIGHT, "edited")
    pipeline.put("Order", "O-T2-00", OrderNumber="7")
    pipeline.crm.hidden = set(pipeline.crm.tables["Account"])
    before = published_as_of(pipeline)
    published = pipeline.run()
    assert published is not None
    assert (published.updated, published.deleted) == (1, 0)
    # Not all that changed until now has been read, and nobody is told so.
    assert published_as_of(pipeline) == before
    assert waiting(pipeline) == set(EIGHT)
    assert pipeline.visible("T1") == set(accounts("T1", range(20)))
    pipeline.crm.hidden = set()
    published = pipeline.run()
    assert published is not None
    assert published.updated == len(EIGHT)
    assert published_as_of(pipeline) > before
    assert waiting(pipeline) == set()


def test_half_an_answer_is_asked_for_again_before_a_row_counts_as_vanished(pipeline: GuardedPipeline) -> None:
    edit(pipeline, EIGHT, "edited")
    real = pipeline.crm.in_sight

    def once_without(service: str, ids: Iterable[str]) -> list[str]:
        ids = list(ids)
        there = [row_id for row_id in real(service, ids) if row_id not in EIGHT[::2]]
        if len(there) < len(ids):
            pipeline.crm.in_sight = real  # type: ignore[method-assign]
        return there

    pipeline.crm.in_sight = once_without  # type: ignore[method-assign]
    published = pipeline.run()
    assert published is not None
    assert published.deleted == 0
    assert named(pipeline, "edited") == set(EIGHT)


def test_a_row_is_lost_from_sight_after_two_sound_answers_and_asked_for_until_it_is_back(
    pipeline: GuardedPipeline,
) -> None:
    pipeline.crm.hidden = {"T1-00"}
    pipeline.tell("Account", ["T1-00"])
    pipeline.run()
    assert "T1-00" not in pipeline.visible("T1")
    assert asked_for(pipeline, "T1-00") == 2
    pipeline.run("sweep")
    assert asked_for(pipeline, "T1-00") == 3
    pipeline.crm.hidden = set()
    pipeline.run("sweep")
    assert "T1-00" in pipeline.visible("T1")
    assert "O-T1-00" in pipeline.visible("T1", "order")
    pipeline.run("sweep")
    assert asked_for(pipeline, "T1-00") == 4


def test_a_proven_delete_needs_no_second_answer_but_a_sound_one(pipeline: GuardedPipeline) -> None:
    deleted = pipeline.crm.tables["Account"].pop("T1-00")
    pipeline.tell("Account", ["T1-00"], "DeleteRecord")
    pipeline.run()
    assert "T1-00" not in pipeline.visible("T1")
    assert asked_for(pipeline, "T1-00") == 1
    # An event about a row that is there, and nothing but empty answers.
    pipeline.crm.tables["Account"]["T1-00"] = deleted
    pipeline.tell("Account", ["T1-01"], "DeleteRecord")
    pipeline.crm.hidden = set(pipeline.crm.tables["Account"])
    pipeline.run()
    assert "T1-01" in pipeline.visible("T1")


def test_a_witness_is_no_row_whose_delete_is_known(pipeline: GuardedPipeline) -> None:
    for row_id in list(pipeline.crm.tables["Account"])[1:]:
        del pipeline.crm.tables["Account"][row_id]
        pipeline.tell("Account", [row_id], "DeleteRecord")
    pipeline.run()
    assert {t: pipeline.visible(t) for t in ("T1", "T2", "T3")} == {"T1": {"T1-00"}, "T2": set(), "T3": set()}


def test_where_nothing_else_is_known_to_be_live_an_answer_is_taken_as_it_is(pipeline: GuardedPipeline) -> None:
    pipeline.put("Opportunity", "ONLY", AccountId="T1-00")
    pipeline.tell("Opportunity", ["ONLY"])
    pipeline.run()
    assert pipeline.visible("T1", "opportunity") == {"ONLY"}
    pipeline.hide("Opportunity", ["ONLY"])
    pipeline.run()
    assert pipeline.visible("T1", "opportunity") == set()


def test_a_new_row_that_one_answer_lacks_comes_with_the_next(pipeline: GuardedPipeline) -> None:
    pipeline.put("Account", "NEW", AccountName="new", TerritoryId="T1")
    pipeline.tell("Account", ["NEW"])
    pipeline.crm.empty_answers["Account"] = 2
    pipeline.run()
    assert "NEW" in pipeline.visible("T1")


def test_children_asked_for_by_their_parent_are_asked_for_again_after_an_empty_answer(
    pipeline: GuardedPipeline,
) -> None:
    """One more example: a restore brings orders back without a word, and the query for them gets an empty answer."""
    order = pipeline.crm.tables["Order"].pop("O-T1-00") | {"ModifiedDate": START - timedelta(days=9)}
    pipeline.hide("Account", ["T1-00"])
    pipeline.run()
    pipeline.put("Account", "T1-00", AccountName="restored", TerritoryId="T1")
    pipeline.crm.tables["Order"] |= {"O-T1-00": order, "O-NEW": order}
    pipeline.tell("Account", ["T1-00"], "RestoreRecord")
    real = pipeline.crm.read_where
    calls = 0

    def read_where(obj: CatalogObject, *arguments: object) -> object:
        nonlocal calls
        calls += obj.name == "order"
        if obj.name == "order" and calls == 1:
            pipeline.crm.empty_answers["Order"] = 1
        return real(obj, *arguments)  # type: ignore[arg-type]

    pipeline.crm.read_where = read_where  # type: ignore[method-assign, assignment]
    pipeline.run()
    assert calls > 1
    assert pipeline.visible("T1", "order") >= {"O-T1-00", "O-NEW"}


def test_a_sweep_with_an_empty_answer_is_repeated(pipeline: GuardedPipeline) -> None:
    """One more example: a sweep that moves on over an empty answer never looks there again."""
    pipeline.put("Account", "T1-00", AccountName="imported without an event")
    pipeline.crm.empty_answers["Account"] = 2
    pipeline.run("sweep")
    pipeline.run()
    assert named(pipeline, "imported without an event") == {"T1-00"}


@pytest.mark.parametrize("kind", ["census", "all"])
def test_an_empty_answer_to_a_query_for_everything_is_asked_for_again(pipeline: GuardedPipeline, kind: str) -> None:
    pipeline.put("Account", "NEW", AccountName="nobody told", TerritoryId="T1")
    with pipeline.open() as connection:
        store_requests(connection, [ReadRequest("account", kind, "", "0", "a test")], utc_now())  # type: ignore[arg-type]
    pipeline.crm.empty_answers["Account"] = 1
    pipeline.read_and_publish()
    assert "NEW" in pipeline.visible("T1")
    assert pipeline.visible("T2") == set(accounts("T2", range(20)))
