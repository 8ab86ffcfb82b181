"""P1 ``poll``, P2 ``delta``, P3 ``snapshot``: rates beside nginx with the same bytes, and FastAPI on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import httpx

from benchmarks.results import Measurement
from benchmarks.serving import servers, store
from benchmarks.serving.load import Load, Request, measure, write_requests
from benchmarks.serving.processes import Server
from benchmarks.serving.store import ServedStore

ROUNDS = 7
SECONDS = 2
WARM_UP_SECONDS = 2
CONNECTIONS = 32
# What nginx sends by itself.
OWN_HEADERS = ("content-length", "content-type", "content-encoding", "date", "server", "etag", "connection")


def poll() -> list[Measurement]:
    """Nothing-new polls of the devices of 200 territories."""
    with store.served_store() as served:
        ours = [asked(served, name, served.cursor(name, store.NEWEST_SEQ)) for name in served.territories]
        theirs = [asked(served, name, str(store.NEWEST_SEQ)) for name in served.territories]
        return _compare("poll", served, ours, theirs)


def delta() -> list[Measurement]:
    """20 rows: each pair of a territory and an older publication, again and again in random order."""
    with store.served_store() as served:
        pairs = [(name, seq) for name in served.territories for seq in range(store.FIRST_SEQ + 1, store.NEWEST_SEQ)]
        random.Random(1).shuffle(pairs)
        ours = [asked(served, name, served.cursor(name, seq)) for name, seq in pairs]
        theirs = [asked(served, name, str(seq)) for name, seq in pairs]
        return _compare("delta of 20 rows", served, ours, theirs)


def asked(served: ServedStore, territory: str, since: str) -> Request:
    return Request(f"/v1/territories/{territory}/delta?since={since}", servers.bearer(territory))


def _compare(what: str, served: ServedStore, ours: Sequence[Request], theirs: Sequence[Request]) -> list[Measurement]:
    """Round by round, one after the other; our service is started anew each time.

    The oldest cursor of each territory comes first, uncounted: tokens are verified then, and what lately changed comes
    to memory, as it does with the first question after a publication.
    """
    oldest = [asked(served, name, served.cursor(name, store.FIRST_SEQ)) for name in served.territories]
    warm_up = write_requests(served.home / "warm-up.txt", oldest)
    our_file = write_requests(served.home / "ours.txt", ours)
    their_file = write_requests(served.home / "theirs.txt", theirs)
    with ExitStack() as stack:
        with servers.delta_service(served) as service:
            files, headers = _answers(service, ours)
        references = {
            "nginx": stack.enter_context(servers.nginx(files)),
            "nginx with the same headers": stack.enter_context(servers.nginx(files, headers)),
            "FastAPI + PostgreSQL": stack.enter_context(servers.fastapi_on_postgresql(served)),
        }
        our_loads: list[Load] = []
        loads: dict[str, list[Load]] = {name: [] for name in references}
        for _ in range(ROUNDS):
            for name, server in references.items():
                requests = their_file if name.startswith("FastAPI") else our_file
                loads[name].append(measure(server, requests, connections=CONNECTIONS, seconds=SECONDS))
            with servers.delta_service(served) as service:
                measure(service, warm_up, connections=1, seconds=WARM_UP_SECONDS)
                our_loads.append(measure(service, our_file, connections=CONNECTIONS, seconds=SECONDS))
    return [
        measurement
        for name, reference in loads.items()
        for measurement in _measurements(what, our_loads, name, reference)
    ]


def _answers(service: Server, requests: Sequence[Request]) -> tuple[dict[str, bytes], list[tuple[str, str]]]:
    """Our answers' bodies by path, and the headers of one, for nginx to serve the same."""
    files: dict[str, bytes] = {}
    headers: list[tuple[str, str]] = []
    with httpx.Client(base_url=service.url) as client:
        for path, given in requests:
            place = path.partition("?")[0]
            if place not in files:
                answer = client.get(path, headers={**given, "Accept-Encoding": "identity"}).raise_for_status()
                files[place] = answer.content
                headers = [item for item in answer.headers.items() if item[0] not in OWN_HEADERS]
    return files, headers


def _measurements(what: str, ours: list[Load], name: str, reference: list[Load]) -> Iterator[Measurement]:
    for figure, unit in (("per_second", "/s"), ("cpu_us", "us CPU"), ("p99_ms", "ms p99")):
        mine, other = ([getattr(load, figure) for load in loads] for loads in (ours, reference))
        yield Measurement(what, unit, mine, name, other)
