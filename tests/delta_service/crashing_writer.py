"""A process that publishes until it is killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from delta_service.store.changes import ChangeSet, RowChange, TerritoryHead, VisibilityChange
from delta_service.store.engine import StoreLocation
from delta_service.store.moves import visibility_table
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.model import IDENTITY, publication

ROWS = 3_000
"""That each publication changes."""
GENERATIONS = 7
"""Of rows: the first publications create one each, those after change them in turn."""
# The processes are forked from one that has imported everything, but no thread of the tests.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def row_count(published_seq: int) -> int:
    """That the territory sees at a publication."""
    return ROWS * min(published_seq, GENERATIONS)


def publish_until_killed(location: StoreLocation, published: Connection) -> None:
    """Sends the number of each publication that is finished."""
    with DeltaStoreWriter(location) as writer:
        writer.initialise(IDENTITY)
        while True:
            seq = writer.published_seq + 1
            ids = [f"A{seq % GENERATIONS}-{number}" for number in range(ROWS)]
            rows = [RowChange("account", id_, seq, seq, f'{{"accountId":"{id_}","seq":{seq}}}') for id_ in ids]
            first = seq <= GENERATIONS
            seen = [VisibilityChange("T1", "account", id_, entered=True) for id_ in ids] if first else []
            head = TerritoryHead("T1", "account", row_count(seq), seq)
            writer.apply(ChangeSet(publication(seq), rows, visibility_table(seen), [head]))
            published.send(seq)


@contextmanager
def killed_at_the_end(location: StoreLocation) -> Iterator[Connection]:
    """A process that publishes meanwhile, and the connection on which it tells of each publication."""
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=publish_until_killed, args=(location, there), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.kill()
        process.join()
        here.close()
