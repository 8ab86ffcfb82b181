"""P11 ``waiters``: 5,000 idle long polls, or listeners, on one process; then all of a territory are woken at once."""

from __future__ import annotations

import asyncio
import resource
import time
from itertools import cycle, islice

import orjson

from benchmarks.results import Measurement
from benchmarks.serving import servers, store
from benchmarks.serving.processes import Server
from benchmarks.serving.store import Row, ServedStore, open_store
from delta_service.store.changes import OPEN_SEQ
from delta_service.store.schema import unsigned
from delta_service.store.writer import DeltaStoreWriter

WAITERS = 5_000
ROUNDS = 3
OPENED_AT_ONCE = 100
SETTLE_SECONDS = 2
# The connections that were there first have made the process allocate what it allocates once.
WARM_UP = 200


async def _waiter(port: int, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    return reader, writer


async def _held(port: int, requests: list[bytes]) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    found: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for start in range(0, len(requests), OPENED_AT_ONCE):
        batch = requests[start : start + OPENED_AT_ONCE]
        found += await asyncio.gather(*(_waiter(port, request) for request in batch))
    return found


def waiters() -> list[Measurement]:
    """Memory a waiter, and the time from the commit of a publication to the last waiter's news."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    found = []
    for kind in ("long poll", "listener"):
        for spread in (False, True):
            sizes, wakes = [], []
            for _ in range(ROUNDS):
                with store.served_store() as served, servers.delta_service(served) as service:
                    size, wake = asyncio.run(_round(served, service, kind, spread=spread))
                sizes.append(size)
                wakes.append(wake)
            where = "200 territories" if spread else "one territory"
            found.append(Measurement(f"{kind}, {where}: memory each", "KiB", sizes, "target 20 KiB", []))
            found.append(Measurement(f"{kind}, {where}: all woken", "s", wakes, "target 1 s", []))
    return found


async def _round(served: ServedStore, service: Server, kind: str, *, spread: bool) -> tuple[float, float]:
    names = served.territories if spread else served.territories[:1]
    each = [_request(served, name, kind) for name in names]
    warm = await _held(service.port, list(islice(cycle(each), WARM_UP)))
    await asyncio.sleep(SETTLE_SECONDS)
    before = service.memory_kib()
    held = await _held(service.port, list(islice(cycle(each), WAITERS)))
    await asyncio.sleep(SETTLE_SECONDS)
    size = (service.memory_kib() - before) / WAITERS
    if kind == "listener":
        await asyncio.gather(*(_event(reader) for reader, _ in [*warm, *held]))
    news = asyncio.gather(*(_news(reader, kind) for reader, _ in [*warm, *held]))
    await asyncio.to_thread(_publish, served, len(names))
    started = time.perf_counter()
    await asyncio.wait_for(news, 60)
    seconds = time.perf_counter() - started
    for _, writer in [*warm, *held]:
        writer.close()
    return size, seconds


def _request(served: ServedStore, territory: str, kind: str) -> bytes:
    path = "/v1/events"
    if kind == "long poll":
        path = f"/v1/territories/{territory}/delta?wait=60&since={served.cursor(territory, store.NEWEST_SEQ)}"
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {servers.token(territory)}\r\n\r\n".encode()


async def _news(reader: asyncio.StreamReader, kind: str) -> None:
    if kind == "listener":
        await _event(reader)
        return
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:100]
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0].split(b":")[1]))


async def _event(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"event: publication")


def _publish(served: ServedStore, territories: int) -> None:
    """One row changes in each of the first territories."""
    sole = f"""SELECT object.name, row_id, digest, body FROM row JOIN object ON object.key = row.object
        JOIN visibility AS seen ON seen.row_key = row.key JOIN territory ON territory.key = seen.territory
        JOIN row_version AS version ON version.row_key = row.key JOIN row_body USING (body_key)
        WHERE territory.id = ? AND seen.touched_seq = ? AND seen.to_seq = {OPEN_SEQ} AND version.to_seq = {OPEN_SEQ}
        LIMIT 1"""
    connection = open_store(served.home)
    rows = []
    for name in served.territories[:territories]:
        object_name, row_id, digest, body = connection.execute(sole, (name, store.NEWEST_SEQ)).get
        changed = orjson.dumps(orjson.loads(body) | {"location": "news"})
        rows.append(Row(object_name, row_id, unsigned(digest), changed))
    with DeltaStoreWriter(served.home / "delta.sqlite") as writer:
        store.publish(writer, connection, rows)
    connection.close()
