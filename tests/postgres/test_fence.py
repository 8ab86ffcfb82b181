"""A writer that was paused, cut off or killed never publishes over a newer one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from delta_service.store.changes import ChangeSet, HeadInterval, RowChange
from delta_service.store.errors import StaleWriterError, StoreUnreachableError
from delta_service.store.moves import visibility_table
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, WORLDS, publish
from tests.delta_service.model import IDENTITY, START, World, change_set, full_copy, publication
from tests.delta_service.stores import content_of
from tests.postgres.cluster import new_location, shared_cluster
from tests.waiting import wait_until

pytestmark = pytest.mark.processes

TERRITORIES = ("T-NORTH", "T-SOUTH")
FIFTH = (5, WORLDS[4], WORLDS[3], TERRITORIES)

WAITING_WRITERS = """SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'territory-delta writer' AND wait_event_type = 'Lock'"""

Act = Callable[[DeltaStoreWriter], None]


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return str(new_location("postgres", tmp_path))


@pytest.fixture
def old_writer(store_url: str) -> Iterator[DeltaStoreWriter]:
    with DeltaStoreWriter(store_url) as writer:
        writer.initialise(IDENTITY)
        publish(writer, WORLDS)
        yield writer


@pytest.mark.parametrize(
    "act",
    [
        lambda writer: writer.apply(change_set(5, WORLDS[4], World(), TERRITORIES)),
        lambda writer: writer.replace(full_copy(WORLDS[:3], TERRITORIES)),
        lambda writer: writer.prune(4, 4),
        lambda writer: writer.set_territories(NAMES),
        lambda writer: writer.confirm_as_of(START.replace(year=2030)),
        lambda writer: writer.initialise(IDENTITY),
    ],
    ids=["apply", "replace", "prune", "set_territories", "confirm_as_of", "initialise"],
)
def test_an_older_writer_changes_nothing_once_a_newer_one_is_open(
    store_url: str, old_writer: DeltaStoreWriter, act: Act
) -> None:
    with DeltaStoreWriter(store_url) as newer:
        before = content_of(newer)
        with pytest.raises(StaleWriterError):
            act(old_writer)
        assert content_of(newer) == before
        newer.apply(change_set(*FIFTH))


def test_a_newer_writer_waits_for_the_current_commit_and_continues_from_it(
    store_url: str, old_writer: DeltaStoreWriter
) -> None:
    opened, seen = threading.Event(), []

    def open_newer() -> None:
        with DeltaStoreWriter(store_url) as newer:
            opened.set()
            seen.append(newer.published_seq)

    thread = threading.Thread(target=open_newer)

    def rows() -> Iterator[RowChange]:
        thread.start()
        yield RowChange("account", "A9", 1, 1, "{}")
        wait_until(lambda: shared_cluster().sql(WAITING_WRITERS) == [(1,)], 30, "the newer writer waits for the fence")
        assert not opened.is_set(), "the row of the fence is held by this transaction"

    old_writer.apply(ChangeSet(publication(5), rows(), visibility_table([])))
    thread.join(30)
    assert seen == [5]


def test_a_writer_disconnected_during_a_publication_leaves_nothing_behind(
    store_url: str, old_writer: DeltaStoreWriter
) -> None:
    before = content_of(old_writer)

    def rows() -> Iterator[RowChange]:
        yield RowChange("account", "A9", 1, 1, "{}")
        shared_cluster().sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'territory-delta writer'"
        )

    with pytest.raises(StoreUnreachableError):
        old_writer.apply(ChangeSet(publication(5), rows(), visibility_table([])))
    with DeltaStoreWriter(store_url) as newer:
        assert content_of(newer) == before
        newer.apply(change_set(*FIFTH))
    with closing(DeltaStoreReader(store_url)) as reader:
        assert reader.state(None).published_seq == 5


def test_readers_neither_wait_for_a_full_copy_nor_see_half_of_it(store_url: str, old_writer: DeltaStoreWriter) -> None:
    with closing(DeltaStoreReader(store_url)) as reader:
        before = reader.state(None)
        copy = full_copy(WORLDS[:3], TERRITORIES)

        def heads() -> Iterator[HeadInterval]:
            assert reader.state(None) == before
            yield from copy.heads

        old_writer.replace(replace(copy, heads=heads()))
        after = reader.state(before)
        assert (after.published_seq, after.generation != before.generation) == (2, True)
        assert after == reader.state(None)
