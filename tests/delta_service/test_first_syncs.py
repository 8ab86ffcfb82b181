"""First syncs answered from memory: identical to the application's answers, and only for tokens with access."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delta_service.answers import SMALL_BYTES
from delta_service.audit import write_records
from delta_service.repeats import MAX_REQUEST_BYTES
from tests.delta_service.conftest import A1, A2, A3, C1, WORLDS, Running, RunScenario, lines_of, token, world
from tests.delta_service.connections import Connection, Server, first_sync, header, tokens_forgotten
from tests.delta_service.histories import cursor_at, history_with_large_row
from tests.waiting import until


def of_all(request: bytes) -> bytes:
    """The same request for all territories of the token."""
    return request.replace(b"/v1/territories/T-NORTH", b"/v1")


async def verify_tokens(connection: Connection, *bearers: str) -> None:
    """Let the service verify tokens, with a request that no other test step makes."""
    for bearer in bearers:
        await connection.ask(f"GET /v1/digest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n\r\n".encode())


@pytest.mark.parametrize("size_bytes", [1, SMALL_BYTES + 1])
def test_a_first_sync_is_answered_from_memory_for_the_next_device(run: RunScenario, size_bytes: int) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        bearers = [token(["T-NORTH"], sub="one"), token(["North"], sub="two"), token(["T-NORTH", "T-SOUTH"])]
        async with server.listening() as connect:
            connection = await connect()
            await verify_tokens(connection, *bearers)
            first = await connection.ask(first_sync(bearers[0]))
            assert b"sync-mode: replace" in first[0]
            asked = server.asked
            for bearer in bearers:
                assert await (await connect()).ask(first_sync(bearer)) == first
            assert server.asked == asked
            # With a header that makes it a new request, which the application answers.
            head, body = await connection.ask(first_sync(bearers[1], "T-NORTH", "X-Request-Id: 1"))
            assert server.asked == asked + 1
            assert (head, body) == first

    run(scenario, published=1, worlds=history_with_large_row(size_bytes))


def test_a_first_sync_from_memory_contains_only_territories_of_the_token(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server = Server(running)
        north, south, both = token(["T-NORTH"]), token(["T-SOUTH"]), token(["T-NORTH", "T-SOUTH"])
        async with server.listening() as connect:
            connection = await connect()
            await verify_tokens(connection, north, south, both)
            for bearer in (north, both):
                head, _ = await connection.ask(first_sync(bearer, "T-SOUTH"))
                assert head.split()[1] == (b"403" if bearer is north else b"200")
            head, body = await connection.ask(first_sync(north, "T-SOUTH"))
            assert head.split()[1] == b"403", "a territory of another token"
            assert b'"code":"scope-denied"' in body
            asked = server.asked
            expected = {}
            for bearer in (north, south, both):
                expected[bearer] = await connection.ask(of_all(first_sync(bearer)))
            assert server.asked == asked + 2, "the south alone was requested before"
            assert len({body for _, body in expected.values()}) == 3
            for bearer in (both, north, south):
                assert await connection.ask(of_all(first_sync(bearer))) == expected[bearer]
            assert server.asked == asked + 2
            head, _ = await connection.ask(first_sync(token(["T-NORTH"], sub="stranger"), "T-NOWHERE"))
            assert head.split()[1] == b"403"

    run(scenario)


def test_answers_from_memory_need_a_valid_token_and_count_against_its_rate_limit(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"], sub="one")
        async with server.listening() as connect:
            connection = await connect()
            for _ in range(2):
                await connection.ask(first_sync(bearer))
            assert server.asked == 1
            for invalid in (
                token(["T-NORTH"], secret=b"another secret of more than thirty-two bytes"),
                "",
                "x y",
                bearer[:-1],
            ):
                head, _ = await connection.ask(first_sync(invalid))
                assert head.split()[1] == b"401"
            assert server.asked == 5
            with tokens_forgotten(monkeypatch):
                await connection.ask(first_sync(bearer))
            assert server.asked == 6, "the token is verified again"
            statuses = [(await connection.ask(first_sync(bearer)))[0].split()[1] for _ in range(20)]
            assert statuses[0] == b"200"
            assert statuses[-1] == b"429", "each request counts"

    run(scenario, caller_requests_per_second=1)


def test_answers_in_memory_are_kept_apart_by_publication_and_parameters(run: RunScenario) -> None:
    worlds = [*WORLDS[:4], WORLDS[2], world({A1: 9, A2: 1, C1: 1}, {"T-NORTH": [A1, A2, C1]})]
    forms = ["", "?limit=2", "?objects=contact", "?versions=true", "?envelope=true", "?reasons=true&limit=2"]

    async def scenario(running: Running) -> None:
        server, bearers = Server(running), [token(["T-NORTH"], sub=name) for name in "ab"]
        async with server.listening() as connect:
            connection = await connect()
            await verify_tokens(connection, *bearers)
            answers = []
            for _ in range(2):
                asked = server.asked
                first, second = [
                    [await connection.ask(first_sync(bearer, parameters=form)) for form in forms] for bearer in bearers
                ]
                assert first == second
                assert server.asked == asked + len(forms)
                answers += first
                await running.publish(worlds)
            assert len(set(answers)) == len(answers)

    run(scenario, published=4, worlds=worlds)


def test_answers_from_memory_are_compressed_only_for_clients_that_accept_it(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearers = Server(running), [token(["T-NORTH"], sub=name) for name in "ab"]
        async with server.listening() as connect:
            connection = await connect()
            await verify_tokens(connection, *bearers)
            for bearer in bearers:
                for coding in (None, "gzip", "identity"):
                    lines = [] if coding is None else [f"Accept-Encoding: {coding}"]
                    head, _ = await connection.ask(first_sync(bearer, "T-NORTH", *lines))
                    assert header(head, b"content-encoding") == (b"gzip" if coding == "gzip" else None)
            assert server.asked == 5

    run(scenario, published=1, worlds=history_with_large_row(5_000))


def test_an_answer_finished_after_the_next_publication_does_not_replace_newer_answers_in_memory(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        server, source, bearers = Server(running), running.service.source, [token(["T-NORTH"], sub=n) for n in "abc"]
        make = source.page
        async with server.listening() as connect:
            late, connection = await connect(), await connect()
            await verify_tokens(connection, *bearers)
            asked, go_on = server.asked, asyncio.Event()

            async def slowly(*question: Any) -> Any:
                await go_on.wait()
                return await make(*question)

            with monkeypatch.context() as slow:
                slow.setattr(source, "page", slowly)
                late.send(first_sync(bearers[0]))
                await until(lambda: server.asked == asked + 1)
            await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
            newest = await connection.ask(first_sync(bearers[1]))
            go_on.set()
            assert (await late.answer())[1] != newest[1]
            assert await connection.ask(first_sync(bearers[2])) == newest
            assert server.asked == asked + 2

    run(scenario)


def test_two_devices_get_the_same_pages_after_a_shared_first_page(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearers = Server(running), [token(["T-NORTH"], sub=name) for name in "ab"]
        async with server.listening() as connect:
            connection = await connect()
            await verify_tokens(connection, bearers[1])
            unions = []
            for bearer in bearers:
                link, bodies = "/v1/territories/T-NORTH/delta?limit=1", []
                while link:
                    request = f"GET {link} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n\r\n"
                    head, body = await connection.ask(request.encode())
                    bodies.append(body)
                    following = header(head, b"link")
                    link = following.decode().partition(">")[0].removeprefix("<") if following else ""
                unions.append(bodies)
            assert server.asked == 4
            assert unions[0] == unions[1]
            assert len(unions[0]) == len(set(unions[0])) == 3

    run(scenario, published=2)


def test_conditional_and_waiting_first_syncs_are_answered_by_the_application(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            head, _ = await connection.ask(first_sync(bearer))
            etag = (header(head, b"etag") or b"").decode()
            for number in range(2):
                head, _ = await connection.ask(first_sync(bearer, "T-NORTH", f"If-None-Match: {etag}"))
                assert head.split()[1] == b"304"
                head, _ = await connection.ask(first_sync(bearer, "T-NORTH", "Prefer: wait=5"))
                assert b"preference-applied: wait=5" in head
                assert server.asked == 3 + 2 * number

    run(scenario)


def test_a_token_outside_the_authorization_header_is_ignored(run: RunScenario) -> None:
    north, south = token(["T-NORTH"]), token(["T-SOUTH"])

    def two_headers(first: str, second: str) -> bytes:
        return of_all(first_sync(first, "T-NORTH", f"Authorization: Bearer {second}"))

    def one_header_empty(first: str, second: str) -> bytes:
        return two_headers(first, second).replace(b"Bearer \r\n", b"\r\n")

    def in_the_body(bearer: str, other: str) -> bytes:
        body = f"\r\nAuthorization: Bearer {other}\r\n"
        return (
            of_all(first_sync(bearer, "T-NORTH", f"Content-Length: {len(body)}")).replace(
                b"\r\nAuthorization", b"\r\nAUTHORIZATION"
            )
            + body.encode()
        )

    async def scenario(running: Running) -> None:
        server = Server(running)
        async with server.listening() as connect:
            connection = await connect()
            expected = {bearer: await connection.ask(of_all(first_sync(bearer))) for bearer in (north, south)}
            for form in (two_headers, in_the_body):
                for one, other in ((north, north), (south, south), (north, south), (south, north), (north, north)):
                    asked = server.asked
                    # Of two headers the last one counts, as in the application.
                    believed = other if form is two_headers else one
                    assert await connection.ask(form(one, other)) == expected[believed]
                    assert server.asked == asked + 1

            for one, other, status in (("", north, b"200"), (north, "", b"401"), ("", south, b"200")):
                head, _ = await connection.ask(one_header_empty(one, other))
                assert head.split()[1] == status

    run(scenario)


def test_large_or_unusually_written_requests_are_answered_by_the_application(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            expected = await connection.ask(first_sync(bearer))
            long = first_sync(bearer, "T-NORTH", "X: " + "x" * MAX_REQUEST_BYTES)
            for _ in range(2):
                assert await connection.ask(long) == expected
            spaced = first_sync(bearer).replace(b"Authorization: ", b"Authorization:\t ")
            for _ in range(2):
                assert await connection.ask(spaced) == expected
            assert server.asked == 5
            for known_seq in (0, 0, 1):
                spelt = first_sync(bearer, parameters=f"?%73ince={cursor_at(known_seq)}")
                head, _ = await connection.ask(spelt)
                assert b"sync-mode" not in head
            assert server.asked == 8
            lower = first_sync(bearer).replace(b"Authorization", b"authorization")
            for _ in range(2):
                assert await connection.ask(lower) == expected
            assert server.asked == 9

    run(scenario)


def test_first_syncs_from_memory_are_logged_as_first_syncs(run: RunScenario, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        with caplog.at_level("INFO", logger="delta_service.audit"):
            async with server.listening() as connect:
                connection = await connect()
                for _ in range(3):
                    await connection.ask(first_sync(bearer))
                assert server.asked == 1
            write_records()
        lines = lines_of(caplog)
        assert [line.split()[1:3] for line in lines] == [["scope=T-NORTH", "from=-"]] * 3
        assert len({line.split("request=")[1] for line in lines}) == 3

    run(scenario, worlds=[*WORLDS[:4], world({A1: 1, A3: 2}, {"T-NORTH": [A1], "T-SOUTH": [A3]})])
