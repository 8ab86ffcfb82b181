"""P2 ``others``: deltas of one half of the territories while nothing happens in the other half, and while much does."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.results import Measurement
from benchmarks.serving import servers, store
from benchmarks.serving.load import Load, measure, write_requests
from benchmarks.serving.store import ServedStore, accounts_to_change, changed, open_store
from benchmarks.serving.throughput import CONNECTIONS, WARM_UP_SECONDS, asked
from delta_service.store.writer import DeltaStoreWriter

ROUNDS = 5
SECONDS = 4
# Of 20 accounts in each of the other territories, while the shipped pipeline makes one in 15 s.
PUBLICATIONS_EACH_SECOND = 2


def others() -> list[Measurement]:
    """CPU of an answer, both in the same process, in turns."""
    with store.served_store() as served, servers.delta_service(served) as service:
        half = served.territories[::2]
        pairs = [(name, seq) for name in half for seq in range(store.FIRST_SEQ, store.NEWEST_SEQ)]
        random.Random(1).shuffle(pairs)
        requests = write_requests(
            served.home / "requests.txt", [asked(served, name, served.cursor(name, seq)) for name, seq in pairs]
        )
        measure(service, requests, connections=1, seconds=WARM_UP_SECONDS)
        quiet: list[Load] = []
        busy: list[Load] = []
        with _publishing(served) as go_on:
            for _ in range(ROUNDS):
                quiet.append(measure(service, requests, connections=CONNECTIONS, seconds=SECONDS))
                go_on.set()
                busy.append(measure(service, requests, connections=CONNECTIONS, seconds=SECONDS))
                go_on.clear()
    name = "nothing happens in the others"
    what = f"delta of 20 rows, {PUBLICATIONS_EACH_SECOND} publications a second in other territories"
    return [
        Measurement(what, "us CPU", [load.cpu_us for load in busy], name, [load.cpu_us for load in quiet]),
        Measurement(what, "ms p99", [load.p99_ms for load in busy], name, [load.p99_ms for load in quiet]),
    ]


@contextmanager
def _publishing(served: ServedStore) -> Iterator[threading.Event]:
    """Publications in every second territory while the event is set."""
    go_on, over = threading.Event(), threading.Event()

    def run() -> None:
        connection = open_store(served.home)
        rows = accounts_to_change(connection, served.territories[1::2])
        with DeltaStoreWriter(served.home / "delta.sqlite") as writer:
            number = 0
            while not over.wait(1 / PUBLICATIONS_EACH_SECOND):
                if go_on.is_set():
                    number += 1
                    rows = changed(writer, connection, rows, f"while others ask, {number}")
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield go_on
    finally:
        over.set()
        thread.join()
