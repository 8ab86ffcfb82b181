"""Large answers from memory take turns: one begins at a time, in order, and a failed one does not block the others."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from delta_service import outflow
from delta_service.answers import SMALL_BYTES
from delta_service.outflow import Turns
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, Running, RunScenario, publish, token
from tests.delta_service.connections import Server, first_sync, poll
from tests.delta_service.histories import history_with_large_row
from tests.delta_service.model import IDENTITY
from tests.delta_service.processes import address_of, serving
from tests.waiting import until

# More than the kernel buffers for a client that does not read, and small enough to be kept in memory.
HUGE = 7 * 2**20
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing resets the connection at once."""


def test_one_answer_begins_in_each_iteration_of_the_event_loop() -> None:
    async def scenario() -> None:
        turns, begun = Turns(), list[int]()
        for number in range(3):
            turns.take(partial(begun.append, number))
        for round_ in range(4):
            assert begun == list(range(min(round_, 3)))
            await asyncio.sleep(0)
        turns.take(lambda: begun.append(3))
        await asyncio.sleep(0)
        assert begun == [0, 1, 2, 3]

    asyncio.run(scenario())


def test_an_answer_that_fails_or_is_cancelled_does_not_block_the_others() -> None:
    async def scenario() -> None:
        failures = list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        turns, begun = Turns(), list[str]()

        async def begin(name: str) -> None:
            await turns.mine()
            begun.append(name)

        def fail() -> None:
            raise RuntimeError

        turns.take(fail)
        gone, left = asyncio.create_task(begin("gone")), asyncio.create_task(begin("left"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(left, 5)
        assert begun == ["left"]
        assert [type(failure) for failure in failures] == [RuntimeError]

    asyncio.run(scenario())


@pytest.mark.processes
def test_nothing_is_sent_to_a_client_that_disconnected(tmp_path: Path) -> None:
    with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        publish(writer, history_with_large_row(SMALL_BYTES + 1))
        writer.set_territories(NAMES)
    request = first_sync(token(["T-NORTH"]))
    with serving(tmp_path) as client:
        address = address_of(client)
        headers = {"Authorization": f"Bearer {token(['T-NORTH'])}", "Accept-Encoding": "identity"}
        for _ in range(2):
            whole = client.get("/v1/territories/T-NORTH/delta", headers=headers).content
        assert len(whole) > SMALL_BYTES
        for _ in range(20):
            gone = [socket.create_connection(address) for _ in range(20)]
            for connection in gone:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.sendall(request)
            for connection in reversed(gone):
                connection.close()
        assert client.get("/v1/territories/T-NORTH/delta", headers=headers).content == whole
    assert "Traceback" not in (tmp_path / "service.log").read_text()


def test_answers_from_memory_count_against_the_memory_limit_like_others(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        server, bearer, flow = Server(running), token(["T-NORTH"]), running.service.outflow
        async with server.listening() as connect:
            connection = await connect()
            expected = await connection.ask(first_sync(bearer))
            await until(lambda: flow.size_bytes == 0)
            gone, slow = await connect(), await connect()
            for stalled in (gone, slow):
                stalled.send(first_sync(bearer))
            await until(lambda: flow.body_count == 1 and flow.reader_count == 2)
            assert server.asked == 1
            assert flow.size_bytes > HUGE
            with monkeypatch.context() as full:
                full.setattr(outflow, "MAX_BYTES", HUGE)
                head, body = await connection.ask(first_sync(bearer))
                assert head.split()[1] == b"429"
                assert b'"code":"rate-limited"' in body
            gone.abort()
            assert await slow.answer() == expected
            await until(lambda: flow.size_bytes == 0)
            # The connection is still usable.
            assert await slow.ask(first_sync(bearer)) == expected
            assert server.asked == 2

    run(scenario, published=1, worlds=history_with_large_row(HUGE))


def test_neither_shutdown_nor_the_idle_timeout_interrupts_an_answer(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening(keep_alive_seconds=1) as connect:
            expected = await (await connect()).ask(first_sync(bearer))
            slow = await connect()
            slow.send(first_sync(bearer))
            await asyncio.sleep(1.3)
            assert await slow.answer() == expected
            assert await slow.ask(first_sync(bearer)) == expected, "time spent reading an answer is not idle time"
            assert await slow.ended() == b""
            await until(lambda: running.service.outflow.reader_count == 0)
            last = await connect()
            last.send(first_sync(bearer))
            await until(lambda: running.service.outflow.reader_count == 1)
            for protocol in server.protocols:
                protocol.shutdown()
            assert await last.answer() == expected
            assert await last.ended() == b""
            assert server.asked == 1

    run(scenario, published=1, worlds=history_with_large_row(HUGE))


def test_a_queued_answer_is_sent_before_later_ones_and_at_shutdown(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            expected = await connection.ask(first_sync(bearer))
            for _ in range(3):
                news = await connection.ask(poll(bearer, since=1))
            assert server.asked == 3
            protocol = server.protocols[0]
            # Before the event loop continues, as if both arrived together.
            protocol.data_received(first_sync(bearer))
            assert running.service.turns.waiting_count == 1
            protocol.data_received(poll(bearer, since=1))
            assert [await connection.answer(), await connection.answer()] == [expected, news]
            protocol.data_received(first_sync(bearer))
            protocol.shutdown()
            assert await connection.answer() == expected
            assert await connection.ended() == b""
            gone = await connect()
            await gone.ask(poll(bearer, since=1))
            server.protocols[1].data_received(first_sync(bearer))
            server.protocols[1].transport.abort()
            await until(lambda: running.service.outflow.size_bytes == 0)
            assert await (await connect()).ask(first_sync(bearer)) == expected

    run(scenario, published=1, worlds=history_with_large_row(SMALL_BYTES + 1))


def test_large_answers_take_turns_and_small_ones_do_not_wait(run: RunScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            first, second, small = [await connect() for _ in range(3)]
            begins: list[Callable[[], None]] = []
            monkeypatch.setattr(running.service.turns, "take", begins.append)
            found = []
            for connection in (first, second):
                connection.send(first_sync(bearer))
                await until(lambda: len(begins) == 1)
                await small.ask(poll(bearer, since=1))
                begins.pop()()
                found.append(await connection.answer())
            assert found[0] == found[1]
            assert len(found[0][1]) > SMALL_BYTES

    run(scenario, published=1, worlds=history_with_large_row(SMALL_BYTES + 1))


def test_large_and_small_answers_keep_their_order_in_any_pieces(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH", "T-SOUTH"])
        kinds = [first_sync(bearer), poll(bearer, since=1), first_sync(bearer, "T-SOUTH"), poll(bearer, since=0)]
        async with server.listening() as connect:
            connection = await connect()
            expected = {kind: await connection.ask(kind) for kind in kinds}
            chance = random.Random(1)
            for _ in range(40):
                asked = chance.choices(kinds, k=chance.randint(1, 6))
                stream = b"".join(asked)
                ends = [sum(map(len, asked[: n + 1])) for n in range(len(asked))]
                cuts = sorted(chance.sample(ends[:-1], chance.randint(0, len(ends) - 1)))
                await connection.send_cut(stream, cuts, lambda: chance.randint(0, 3))
                assert [await connection.answer() for _ in asked] == [expected[kind] for kind in asked]
        assert server.asked < 40 * 6

    run(scenario, published=1, worlds=history_with_large_row(SMALL_BYTES + 1))
