"""What a connection does without the application: repeated polls, timeouts and limits."""

from __future__ import annotations

import asyncio
import random
from array import array
from fcntl import ioctl

import pytest
from prometheus_client import REGISTRY

from delta_service import protocol
from tests.delta_service.conftest import A1, WORLDS, Running, RunScenario, token, world
from tests.delta_service.connections import DATE, Server, header, poll, tokens_forgotten
from tests.waiting import until

SIOCOUTQNSD = 0x894B
"""Linux's request for the number of bytes that a socket has not sent yet."""


def answered(kind: str) -> float:
    """The number of answers of this kind that the metrics have counted."""
    return REGISTRY.get_sample_value("delta_requests_total", {"kind": kind}) or 0.0


def test_a_poll_repeated_byte_for_byte_is_answered_without_the_application(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH", "T-SOUTH"])
        async with server.listening() as connect:
            connection, before = await connect(), answered("nothing_new")
            answers = [await connection.ask(poll(bearer)) for _ in range(6)]
            assert server.asked == 2
            assert answers == [answers[0]] * 6
            assert b"date: " + DATE in answers[0][0]
            assert b"sync-cursor: c1." in answers[0][0]
            assert answered("nothing_new") == before + 6
            # Also on another connection, but not for a request that differs in any byte.
            assert await (await connect()).ask(poll(bearer)) == answers[0]
            assert server.asked == 2
            for other in (poll(bearer, "T-SOUTH"), poll(bearer, "T-NORTH", "X-Request-Id: 1"), poll(bearer, since=3)):
                await connection.ask(other)
            assert server.asked == 5
            etag = header(answers[0][0], b"etag")
            assert etag is not None
            unchanged = poll(bearer, "T-NORTH", f"If-None-Match: {etag.decode()}")
            heads = [(await connection.ask(unchanged))[0] for _ in range(4)]
            assert all(head.startswith(b"HTTP/1.1 304 Not Modified\r\n") for head in heads)
            assert heads == [heads[0]] * 4
            assert server.asked == 6, "a kept answer serves both; after that the bytes are compared"

    run(scenario)


def test_a_repeated_poll_still_respects_publications_token_verification_and_the_rate_limit(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        async with server.listening() as connect:
            connection, request = await connect(), poll(token(["T-NORTH"], sub="one"))
            for _ in range(3):
                await connection.ask(request)
            await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
            _, body = await connection.ask(request)
            assert b'"content 9"' in body
            quiet = poll(token(["T-NORTH"], sub="one"), since=5)
            for _ in range(3):
                head, _ = await connection.ask(quiet)
            assert b"HTTP/1.1 200" in head
            asked = server.asked
            with tokens_forgotten(monkeypatch):
                await connection.ask(quiet)
                assert server.asked == asked + 1, "the token is verified again"
            statuses = [(await connection.ask(quiet))[0].split()[1] for _ in range(20)]
            assert statuses[0] == b"200"
            assert statuses[-1] == b"429", "each repeated poll counts"

    run(scenario, caller_requests_per_second=1)


def test_requests_that_wait_or_close_the_connection_are_answered_by_the_application(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            for request in (
                poll(bearer, "T-NORTH", "Prefer: wait=0"),
                poll(bearer, "T-NORTH", "Content-Length: 1") + b"x",
                poll(bearer).replace(b"?since", b"?wait=0&since"),
            ):
                answers = [await connection.ask(request) for _ in range(4)]
                assert answers == [answers[0]] * 4
            connection.send(poll(bearer, method="HEAD") * 4)
            for _ in range(4):
                assert b"content-length: " in await connection.head()
            for _ in range(3):
                last = await connect()
                last.send(poll(bearer, "T-NORTH", "Connection: close"))
                assert (await last.ended()).count(b"HTTP/1.1 200") == 1

    run(scenario)


def test_requests_can_arrive_in_any_pieces_and_answers_keep_their_order(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH", "T-SOUTH"])
        kinds = [poll(bearer), poll(bearer, "T-SOUTH"), poll(bearer, "T-SOUTH", "Content-Length: 2") + b"xy"]
        async with server.listening() as connect:
            connection = await connect()
            expected = {kind: await connection.ask(kind) for kind in kinds}
            for kind in kinds:
                await connection.ask(kind)
            chance = random.Random(1)
            for _ in range(40):
                asked = chance.choices(kinds, k=chance.randint(1, 8))
                stream = b"".join(asked)
                cuts = sorted(chance.choices(range(1, len(stream)), k=chance.randint(0, 5)))
                await connection.send_cut(stream, cuts, lambda: chance.randint(0, 3))
                assert [await connection.answer() for _ in asked] == [expected[kind] for kind in asked]
        assert server.asked < 40 * 8

    run(scenario)


def test_idle_connections_and_incomplete_requests_are_closed(run: RunScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
        async with server.listening(keep_alive_seconds=1) as connect:
            silent, slow, huge, busy = [await connect() for _ in range(4)]
            slow.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            assert await slow.ended() == b""
            begin = b"GET /healthz HTTP/1.1\r\n"
            huge.send(begin)
            await until(lambda: server.protocols[2].received_bytes == len(begin))
            huge.send(b"X: " + b"x" * protocol.MAX_HEAD_BYTES)
            assert (await huge.ended()).startswith(b"HTTP/1.1 400")
            # Repeated polls keep a connection alive like other requests.
            for _ in range(8):
                assert b"200 OK" in (await busy.ask(poll(bearer)))[0]
                await asyncio.sleep(0.25)
            assert await silent.ended() == b""
            assert b"200 OK" in (await busy.ask(poll(bearer)))[0]
            assert await busy.ended() == b""

    bearer = token(["T-NORTH"])
    run(scenario)


def test_connections_beyond_the_limit_are_told_to_retry_later(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        async with server.listening() as connect:
            first, second, late = [await connect() for _ in range(3)]
            # A poll that is answered without the application opens a connection as well.
            known = poll(token(["T-NORTH"]))
            for _ in range(3):
                await first.ask(known)
            for connection in (first, second):
                assert b"HTTP/1.1 200" in (await connection.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))[0]
            late.send(known)
            refused = await late.ended()
            assert refused.startswith(b"HTTP/1.1 429")
            assert b"\r\nretry-after: " in refused
            assert b'"code":"rate-limited"' in refused
            first.close()
            await until(lambda: server.connection_count == 1)
            again = await connect()
            assert b"HTTP/1.1 200" in (await again.ask(poll(token(["T-NORTH"]))))[0]

    run(scenario, connections=2)


def test_a_large_answer_is_handed_to_the_kernel_in_parts_so_that_polls_need_not_wait(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        async with server.listening() as connect:
            await (await connect()).ask(poll(token(["T-NORTH"])))
            transport = server.protocols[0].transport
            descriptor = transport.get_extra_info("socket").fileno()

            def unsent_bytes() -> int:
                found = array("i", [0])
                ioctl(descriptor, SIOCOUTQNSD, found)
                return found[0]

            # The client reads nothing.
            content = bytes(40 * 2**20)
            transport.write(content)
            await until(lambda: unsent_bytes() > 0)
            for _ in range(50):
                # A segment may begin before the limit and end after it.
                assert unsent_bytes() <= protocol.UNSENT_BYTES + 2**16
                await asyncio.sleep(0.002)
            assert transport.get_write_buffer_size() > len(content) // 2
            transport.abort()

    run(scenario)
