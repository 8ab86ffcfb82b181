"""P3 ``snapshot``: first syncs of 5,000 rows beside nginx with the same files; polls meanwhile; memory by page size."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx

from benchmarks.results import Measurement
from benchmarks.serving import servers, store
from benchmarks.serving.load import Load, Request, finish, measure, start, write_requests
from benchmarks.serving.processes import Server
from benchmarks.serving.store import ServedStore

ROUNDS = 7
SECONDS = 2
CONNECTIONS = 8
DEVICES = 50
POLLING, DOWNLOADING = 4, 4
PAUSE_MS = 1
CODINGS = ("identity", "gzip")
SNAPSHOT = f"/v1/territories/{store.SNAPSHOT_TERRITORY}/delta"
LARGE = f"/v1/territories/{store.LARGE_TERRITORY}/delta"
PAGE_ROWS = (1_000, 5_000, 20_000)


def snapshot() -> list[Measurement]:
    with store.served_store() as served:
        return [*_rates(served), *_memory(served)]


def _rates(served: ServedStore) -> list[Measurement]:
    """What a second device gets, and how long polls take while four devices download without a pause."""
    name = served.territories[0]
    poll = Request(f"/v1/territories/{name}/delta?since={served.cursor(name, store.NEWEST_SEQ)}", servers.bearer(name))
    polls = write_requests(served.home / "polls.txt", [poll])
    snapshots = {coding: _snapshots(served, coding) for coding in CODINGS}
    found: list[Measurement] = []
    with servers.delta_service(served) as service:
        with httpx.Client(base_url=service.url) as client:
            content = client.get(SNAPSHOT, headers=servers.bearer(store.SNAPSHOT_TERRITORY)).raise_for_status().content
            nothing = client.get(poll.path, headers=poll.headers).raise_for_status().content
        files = {
            SNAPSHOT: content,
            f"{SNAPSHOT}.gz": gzip.compress(content, 6),
            poll.path.partition("?")[0]: nothing,
        }
        with servers.nginx(files) as nginx:
            for coding, requests in snapshots.items():
                rates: dict[str, list[Load]] = {"ours": [], "nginx": []}
                tails: dict[str, list[Load]] = {"ours": [], "nginx": []}
                for _ in range(ROUNDS):
                    for name, server in (("nginx", nginx), ("ours", service)):
                        rates[name].append(measure(server, requests, connections=CONNECTIONS, seconds=SECONDS))
                        tails[name].append(_polls_meanwhile(server, polls, requests))
                found += [
                    _compared(f"5,000 rows, {coding}", "/s", "per_second", rates),
                    _compared(f"5,000 rows, {coding}", "us CPU", "cpu_us", rates),
                    _compared(f"polls during downloads, {coding}", "ms p99", "p99_ms", tails),
                ]
    return found


def _snapshots(served: ServedStore, coding: str) -> Path:
    """By one device after the other, each with a token of its own."""
    bearers = [servers.bearer(store.SNAPSHOT_TERRITORY, days=1 + device) for device in range(DEVICES)]
    requests = [Request(SNAPSHOT, {**bearer, "Accept-Encoding": coding}) for bearer in bearers]
    return write_requests(served.home / f"{coding}.txt", requests)


def _polls_meanwhile(server: Server, polls: Path, snapshots: Path) -> Load:
    downloads = start(server, snapshots, connections=DOWNLOADING, seconds=SECONDS)
    found = measure(server, polls, connections=POLLING, seconds=SECONDS, pause_ms=PAUSE_MS)
    finish(downloads)
    return found


def _compared(what: str, unit: str, figure: str, loads: dict[str, list[Load]]) -> Measurement:
    ours, nginx = ([getattr(load, figure) for load in loads[name]] for name in ("ours", "nginx"))
    return Measurement(what, unit, ours, "nginx", nginx)


def _memory(served: ServedStore) -> list[Measurement]:
    """Growth of the peak while a territory is fetched whole, by page size, and by size of the territory.

    The bounded caches (of pages, and SQLite's own) are filled first: what they take is not the page's.
    """
    found = []
    with servers.delta_service(served) as service, httpx.Client(base_url=service.url, timeout=120) as client:
        for rows in PAGE_ROWS:
            _fetch(client, store.LARGE_TERRITORY, LARGE, rows + 1)
        for rows in PAGE_ROWS:
            large, small = (
                _growth_mib(service, client, territory, path, rows)
                for territory, path in ((store.LARGE_TERRITORY, LARGE), (store.SNAPSHOT_TERRITORY, SNAPSHOT))
            )
            what = f"growth of the peak, territory of {store.LARGE_ROWS} rows in pages of {rows}"
            found.append(Measurement(what, "MiB", [large], f"territory of {store.SNAPSHOT_ROWS}: {small:.1f} MiB", []))
    return found


def _growth_mib(service: Server, client: httpx.Client, territory: str, path: str, page_rows: int) -> float:
    service.forget_peak()
    before = service.peak_kib()
    _fetch(client, territory, path, page_rows)
    return (service.peak_kib() - before) / 1024


def _fetch(client: httpx.Client, territory: str, path: str, page_rows: int) -> None:
    headers = servers.bearer(territory)
    answer = client.get(path, params={"limit": page_rows}, headers=headers).raise_for_status()
    while (following := answer.links.get("next")) is not None:
        answer = client.get(following["url"], headers=headers).raise_for_status()
