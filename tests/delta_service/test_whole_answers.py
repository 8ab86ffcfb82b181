"""Answers that leave in one piece, not as ASGI's three messages: the same bytes, in the same order, to the same end."""

from __future__ import annotations

import asyncio

import pytest

from delta_service.answers import SMALL_BYTES, Wire
from delta_service.protocol import JOINED_BYTES, DeltaProtocol
from tests.delta_service.conftest import A1, WORLDS, Running, RunScenario, token, world
from tests.delta_service.connections import Server, first_sync, header, poll
from tests.delta_service.model import World
from tests.delta_service.test_events import until

# Larger than what the kernel takes from a reader that does not read.
HUGE = 24 * 2**20


def worlds_of(size_bytes: int) -> list[World]:
    return [World(), world({A1: "x" * size_bytes}, {"T-NORTH": [A1]})]


def unpacked(*lines: str) -> bytes:
    return first_sync(token(["T-NORTH"]), "T-NORTH", "Accept-Encoding: identity", *lines)


@pytest.fixture
def wholes(monkeypatch: pytest.MonkeyPatch) -> list[Wire]:
    """What was sent in one piece."""
    sent: list[Wire] = []
    write = DeltaProtocol._write

    def noted(protocol: DeltaProtocol, answer: Wire) -> None:
        sent.append(answer)
        write(protocol, answer)

    monkeypatch.setattr(DeltaProtocol, "_write", noted)
    return sent


@pytest.mark.parametrize("size_bytes", [1, JOINED_BYTES + 1, SMALL_BYTES + 1, HUGE])
def test_an_answer_in_one_piece_is_the_same_as_in_three(run: RunScenario, wholes: list[Wire], size_bytes: int) -> None:
    async def scenario(running: Running) -> None:
        async with Server(running).listening() as connect:
            # One that ends the connection goes the ordinary way.
            last = await connect()
            last.send(unpacked("Connection: close"))
            head, body = await last.answer()
            assert not wholes
            assert len(body) > size_bytes
            assert await (await connect()).ask(unpacked()) == (head.replace(b"connection: close\r\n", b""), body)
            assert len(wholes) == 1

    run(scenario, published=1, worlds=worlds_of(size_bytes))


def test_quiet_and_conditional_answers_and_news_leave_in_one_piece_and_problems_do_not(
    run: RunScenario, wholes: list[Wire]
) -> None:
    async def scenario(running: Running) -> None:
        bearer = token(["T-NORTH"])
        async with Server(running).listening() as connect:
            head, _ = await (await connect()).ask(poll(bearer))
            etag = header(head, b"etag")
            assert etag is not None
            requests = [poll(bearer, since=2), poll(bearer), poll(bearer, "T-NORTH", f"If-None-Match: {etag.decode()}")]
            for number, request in enumerate(requests, 2):
                whole = await (await connect()).ask(request)
                assert len(wholes) == number
                last = await connect()
                last.send(request.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost"))
                head, body = await last.answer()
                assert whole == (head.replace(b"connection: close\r\n", b""), body)
            head, _ = await (await connect()).ask(poll(token(["T-SOUTH"])))
            assert head.startswith(b"HTTP/1.1 403")
            assert len(wholes) == len(requests) + 1

    run(scenario)


def test_a_reader_that_goes_away_or_takes_its_time_keeps_nothing_of_a_large_answer(
    run: RunScenario, wholes: list[Wire]
) -> None:
    async def scenario(running: Running) -> None:
        outflow = running.service.outflow
        async with Server(running).listening() as connect:
            gone, slow = await connect(), await connect()
            for connection in (gone, slow):
                connection.send(unpacked())
            await until(lambda: len(wholes) == 2)
            assert outflow._bytes > HUGE
            gone._writer.transport.abort()
            answer = await slow.answer()
            assert len(answer[1]) > HUGE
            await until(lambda: outflow._bytes == 0)
            # The connection is as good as before.
            assert await slow.ask(unpacked()) == answer

    run(scenario, published=1, worlds=worlds_of(HUGE))


def test_a_service_that_ends_meanwhile_ends_the_connection_after_the_answer(
    run: RunScenario, wholes: list[Wire]
) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        async with server.listening(keep_alive_seconds=60) as connect:
            connection, waiting = await connect(), await connect()
            connection.send(unpacked())
            waiting.send(poll(token(["T-NORTH"]), since="1&wait=30"))
            await until(lambda: len(wholes) == 1 and running.service.watch.waiting == 1)
            for protocol in server.protocols:
                protocol.shutdown()
            _, body = await connection.answer()
            assert len(body) > HUGE
            assert await connection.ended() == b""
            assert b"connection: close\r\n" in (await waiting.answer())[0]
            assert await waiting.ended() == b""
            assert len(wholes) == 1

    run(scenario, published=1, worlds=worlds_of(HUGE))


def test_what_is_asked_while_another_waits_is_answered_after_it(run: RunScenario, wholes: list[Wire]) -> None:
    async def scenario(running: Running) -> None:
        bearer = token(["T-NORTH"])
        async with Server(running).listening() as connect:
            connection = await connect()
            before = await connection.ask(poll(bearer, since=2))
            connection.send(poll(bearer, since="4&wait=30"))
            await until(lambda: running.service.watch.waiting == 1)
            connection.send(poll(bearer, since=2))
            await asyncio.sleep(0.05)
            await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
            _, news = await connection.answer()
            assert b'"content 9"' in news
            after = await connection.answer()
            assert after[1] != before[1]
            assert b'"content 9"' in after[1]
            assert await connection.ask(poll(bearer, since=2)) == after
            assert len(wholes) == 3, "what came while another waited went the ordinary way"

    run(scenario)


def test_nothing_is_written_to_one_who_is_gone_or_does_not_read(
    run: RunScenario, wholes: list[Wire], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            gone, slow = await connect(), await connect()
            gone.send(poll(bearer, since="4&wait=30"))
            await until(lambda: running.service.watch.waiting == 1)
            gone._writer.transport.abort()
            server.protocols[1].flow.pause_writing()
            slow.send(poll(bearer, since=2))
            await until(lambda: server.asked == 2)
            await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
            await until(lambda: running.service.watch.waiting == 0)
            await asyncio.sleep(0.05)
            assert not wholes
            server.protocols[1].flow.resume_writing()
            assert b"HTTP/1.1 200" in (await slow.answer())[0]
            assert not caplog.messages

    run(scenario)
