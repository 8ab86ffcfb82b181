"""Limits that protect other callers: request rates, waiting requests, invalid tokens, slow readers, connections."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import time
from collections.abc import MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from delta_service import outflow, watch
from delta_service.answers import SMALL_BYTES
from delta_service.app import create
from delta_service.callers import BURST_SECONDS
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, SECRET, WORLDS, Device, Running, RunScenario, publish, token, world
from tests.delta_service.listeners import Listener
from tests.delta_service.model import IDENTITY, World
from tests.delta_service.problems import assert_problem
from tests.delta_service.processes import address_of, serving
from tests.waiting import until, wait_until


def test_a_token_with_too_many_requests_is_told_to_wait_while_others_are_served(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        loud, quiet = running.device("T-NORTH", sub="loud"), running.device("T-NORTH", sub="quiet")
        answers = [await loud.get("north", since=4) for _ in range(BURST_SECONDS + 5)]
        assert [answer.status_code for answer in answers[:BURST_SECONDS]] == BURST_SECONDS * [200]
        assert_problem(answers[-1], 429, "rate-limited")
        assert int(answers[-1].headers["retry-after"]) > 0
        # Another token of the same subject is the same caller, on other routes as well.
        assert_problem(await running.device("T-SOUTH", sub="loud").get("/v1/digest"), 429, "rate-limited")
        assert (await quiet.get("north", since=4)).status_code == 200
        # A token without a subject is not limited, because many devices share it.
        for _ in range(BURST_SECONDS + 5):
            assert (await running.device("T-NORTH").get("north", since=4)).status_code == 200

    run(scenario, caller_requests_per_second=1)


def test_a_caller_can_have_only_a_few_waiting_requests(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", sub="patient")
        poll = asyncio.create_task(device.get("north", since=4, wait=60))
        listener = Listener(running, token(["T-NORTH"], sub="patient"))
        await until(lambda: running.service.watch.waiting == 2)
        assert_problem(await device.get("north", since=4, wait=60), 429, "rate-limited")
        assert_problem(await device.get("/v1/events"), 429, "rate-limited")
        assert (await device.get("north", since=4)).status_code == 200, "an ordinary poll does not wait"
        other = asyncio.create_task(running.device("T-NORTH", sub="other").get("north", since=4, wait=60))
        await until(lambda: running.service.watch.waiting == 3)
        await listener.leave()
        again = asyncio.create_task(device.get("north", since=4, wait=60))
        await until(lambda: running.service.watch.waiting == 3)
        running.service.watch.stop()
        assert [answer.status_code for answer in await asyncio.gather(poll, other, again)] == [200, 200, 200]

    run(scenario, caller_waits=2)


def test_invalid_tokens_from_an_address_do_not_affect_valid_tokens_from_it(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        known = running.device("T-NORTH")
        assert (await known.get("north", since=4)).status_code == 200
        refused = [await Device(running.client, f"invalid-{n}").get("north") for n in range(BURST_SECONDS + 1)]
        assert [answer.status_code for answer in refused] == [*BURST_SECONDS * [401], 429]
        assert (await known.get("north", since=4)).status_code == 200
        elsewhere = httpx.ASGITransport(running.service, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://service") as client:
            assert (await Device(client, token(["T-SOUTH"])).get("south", since=4)).status_code == 200

    run(scenario, refusals_per_second=1)


def test_limits_use_the_address_given_by_a_trusted_proxy_and_ignore_it_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELTA_HOME", str(tmp_path))
    monkeypatch.setenv("DELTA_JWT_SECRET", SECRET.decode())
    monkeypatch.setenv("DELTA_REFUSALS_PER_SECOND", "1")
    monkeypatch.setenv("DELTA_TRUSTED_PROXIES", "198.51.100.0/24")

    async def statuses(client: str, addresses: list[str]) -> list[int]:
        transport = httpx.ASGITransport(create(), client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            requests = [{"Authorization": "Bearer x", "X-Forwarded-For": address} for address in addresses]
            return [(await http.get("/v1/territories", headers=headers)).status_code for headers in requests]

    flood = BURST_SECONDS * ["192.0.2.7"]
    assert asyncio.run(statuses("198.51.100.9", [*flood, "192.0.2.7", "192.0.2.8"]))[-2:] == [429, 401]
    assert asyncio.run(statuses("192.0.2.99", [*flood, "192.0.2.8"]))[-1] == 429


def large_world(rows: int) -> World:
    accounts: dict[Any, object] = {("account", f"A{number}"): "x" * 8_192 for number in range(rows)}
    return world(accounts, {"T-NORTH": list(accounts)})


def test_memory_for_large_answers_being_sent_is_limited(run: RunScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        path = "/v1/territories/T-NORTH/delta"
        headers = [(b"authorization", f"Bearer {token(['T-NORTH'])}".encode())]
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        gone, held = asyncio.Event(), asyncio.Event()

        async def never() -> MutableMapping[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                held.set()
                await gone.wait()

        stalled = asyncio.create_task(running.service(scope | {"headers": headers, "client": None}, never, send))
        await held.wait()
        plain = {"Accept-Encoding": "identity"}
        assert_problem(await device.get("north", plain), 429, "rate-limited")
        assert (await device.get("north", plain, limit=1)).status_code == 200, (
            "a small answer needs no memory of the limit"
        )
        gone.set()
        await stalled
        assert len((await device.get("north", plain)).content) > SMALL_BYTES

    monkeypatch.setattr(outflow, "MAX_BYTES", 400_000)
    run(scenario, published=1, worlds=[World(), large_world(20)])


@pytest.fixture
def large_store(tmp_path: Path) -> Path:
    """A first sync of 20 MB, which is more than the kernel buffers for a reader that stalls."""
    with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        writer.set_territories(NAMES)
        publish(writer, [World(), large_world(2_500)])
    return tmp_path


@pytest.mark.processes
def test_a_stalled_reader_is_disconnected_and_a_slow_one_is_not(large_store: Path) -> None:
    with serving(large_store, DELTA_STALL_SECONDS="2") as client:
        address = address_of(client)
        request = f"GET /v1/delta?limit=50000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token(['T-NORTH'])}\r\n"
        stalled = [request, request + "Accept: application/x-ndjson\r\n"]
        sockets = []
        for head in [*stalled, request + "Connection: close\r\n"]:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.connect(address)
            connection.sendall(head.encode() + b"\r\n")
            connection.settimeout(10)
            sockets.append(connection)
        *stalling, slow = sockets

        def cut_off() -> int:
            return (large_store / "service.log").read_text().count("its reader is too slow")

        taken, began = b"", time.monotonic()
        while piece := slow.recv(1_000_000):
            taken += piece
            # Much slower than usual, but always reading.
            if time.monotonic() - began < 3:
                time.sleep(0.1)
        answer_head, _, body = taken.partition(b"\r\n\r\n")
        assert len(body) > 20_000_000
        assert b"content-length: %d\r\n" % len(body) in answer_head
        wait_until(lambda: cut_off() == len(stalling), 20, "both readers that stall are cut off")
        for connection in stalling:
            assert _size_until_end(connection) < len(body)
        assert client.get("/healthz").status_code == 200
        for connection in sockets:
            connection.close()


def _size_until_end(connection: socket.socket) -> int:
    size = 0
    try:
        while piece := connection.recv(1_000_000):
            size += len(piece)
    except ConnectionResetError:
        pass
    return size


def test_two_simultaneous_looks_at_the_store_do_not_bring_back_an_older_state(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Future[Any]] = []

    class ObservedExecutor(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
            submitted.append(super().submit(*arguments, **named))
            return submitted[-1]

    async def scenario(running: Running) -> None:
        look = running.service.watch.look
        await asyncio.to_thread(publish, running.writer, WORLDS)
        submitted.clear()
        looks = asyncio.gather(look(), look())
        await asyncio.sleep(0)
        assert len(submitted) >= 2
        # This blocks the event loop, so that both have read before it continues with either of them.
        concurrent.futures.wait(submitted, timeout=10)
        await looks
        assert running.service.watch.current().published_seq == len(WORLDS) - 1

    monkeypatch.setattr(watch, "ThreadPoolExecutor", ObservedExecutor)
    run(scenario, published=2)
