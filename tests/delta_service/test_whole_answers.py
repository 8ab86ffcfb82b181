"""Answers sent in one piece instead of ASGI's messages: the same bytes in the same order."""

from __future__ import annotations

import pytest

from delta_service.answers import SMALL_BYTES
from delta_service.protocol import JOINED_BYTES
from tests.delta_service.conftest import A1, WORLDS, Running, RunScenario, token, world
from tests.delta_service.connections import Server, first_sync, header, poll
from tests.delta_service.histories import history_with_large_row
from tests.waiting import until

# More than the kernel buffers for a client that does not read.
HUGE = 24 * 2**20


def uncompressed(*lines: str) -> bytes:
    return first_sync(token(["T-NORTH"]), "T-NORTH", "Accept-Encoding: identity", *lines)


@pytest.mark.parametrize("size_bytes", [1, JOINED_BYTES + 1, SMALL_BYTES + 1, HUGE])
def test_an_answer_in_one_piece_is_the_same_as_in_three(run: RunScenario, size_bytes: int) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        async with server.listening() as connect:
            # An answer that closes the connection is sent as ASGI messages.
            last = await connect()
            last.send(uncompressed("Connection: close"))
            head, body = await last.answer()
            assert not server.sent_whole
            assert len(body) > size_bytes
            assert await (await connect()).ask(uncompressed()) == (
                head.replace(b"connection: close\r\n", b""),
                body,
            )
            assert len(server.sent_whole) == 1

    run(scenario, published=1, worlds=history_with_large_row(size_bytes))


def test_deltas_and_304_answers_are_sent_in_one_piece_and_problems_are_not(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        bearer = token(["T-NORTH"])
        server = Server(running)
        async with server.listening() as connect:
            head, _ = await (await connect()).ask(poll(bearer))
            etag = header(head, b"etag")
            assert etag is not None
            requests = [poll(bearer, since=2), poll(bearer), poll(bearer, "T-NORTH", f"If-None-Match: {etag.decode()}")]
            for number, request in enumerate(requests, 2):
                whole = await (await connect()).ask(request)
                assert len(server.sent_whole) == number
                last = await connect()
                last.send(request.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost"))
                head, body = await last.answer()
                assert whole == (head.replace(b"connection: close\r\n", b""), body)
            head, _ = await (await connect()).ask(poll(token(["T-SOUTH"])))
            assert head.startswith(b"HTTP/1.1 403")
            assert len(server.sent_whole) == len(requests) + 1

    run(scenario)


def test_memory_of_a_large_answer_is_released_after_slow_and_disconnected_readers(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        outflow = running.service.outflow
        server = Server(running)
        async with server.listening() as connect:
            gone, slow = await connect(), await connect()
            for connection in (gone, slow):
                connection.send(uncompressed())
            await until(lambda: len(server.sent_whole) == 2)
            assert outflow.size_bytes > HUGE
            gone.abort()
            answer = await slow.answer()
            assert len(answer[1]) > HUGE
            await until(lambda: outflow.size_bytes == 0)
            # The connection is still usable.
            assert await slow.ask(uncompressed()) == answer

    run(scenario, published=1, worlds=history_with_large_row(HUGE))


def test_at_shutdown_a_connection_is_closed_after_its_answer(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        async with server.listening(keep_alive_seconds=60) as connect:
            connection, waiting = await connect(), await connect()
            connection.send(uncompressed())
            waiting.send(poll(token(["T-NORTH"]), since="1&wait=30"))
            await until(lambda: len(server.sent_whole) == 1 and running.service.watch.waiting == 1)
            for protocol in server.protocols:
                protocol.shutdown()
            _, body = await connection.answer()
            assert len(body) > HUGE
            assert await connection.ended() == b""
            assert b"connection: close\r\n" in (await waiting.answer())[0]
            assert await waiting.ended() == b""
            assert len(server.sent_whole) == 1

    run(scenario, published=1, worlds=history_with_large_row(HUGE))


def test_a_request_pipelined_behind_a_long_poll_is_answered_after_it(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        bearer = token(["T-NORTH"])
        server = Server(running)
        async with server.listening() as connect:
            connection = await connect()
            before = await connection.ask(poll(bearer, since=2))
            connection.send(poll(bearer, since="4&wait=30"))
            await until(lambda: running.service.watch.waiting == 1)
            received_bytes, meanwhile = server.protocols[0].received_bytes, poll(bearer, since=2)
            connection.send(meanwhile)
            await until(lambda: server.protocols[0].received_bytes == received_bytes + len(meanwhile))
            await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
            _, news = await connection.answer()
            assert b'"content 9"' in news
            after = await connection.answer()
            assert after[1] != before[1]
            assert b'"content 9"' in after[1]
            assert await connection.ask(poll(bearer, since=2)) == after
            assert len(server.sent_whole) == 3, "the pipelined request was answered in ASGI messages"

    run(scenario)


def test_nothing_is_written_in_one_piece_to_a_client_that_is_gone_or_does_not_read(
    run: RunScenario, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            gone, slow = await connect(), await connect()
            gone.send(poll(bearer, since="4&wait=30"))
            await until(lambda: running.service.watch.waiting == 1)
            gone.abort()
            server.protocols[1].flow.pause_writing()
            slow.send(poll(bearer, since=2))
            await until(lambda: server.asked == 2)
            await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
            # The request of the disconnected client has ended; the other answer waits until its client reads.
            await until(lambda: running.service.watch.waiting == 0 and server.finished == 1)
            assert not server.sent_whole
            server.protocols[1].flow.resume_writing()
            assert b"HTTP/1.1 200" in (await slow.answer())[0]
            assert not caplog.messages

    run(scenario)
