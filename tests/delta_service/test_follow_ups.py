"""Deltas answered from memory: identical to the application's answers for every cursor, and never beyond its scope."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from delta_service.answers import SMALL_BYTES
from delta_service.audit import write_records
from delta_service.cursor import Anchor, Cursor
from tests.delta_service.conftest import A1, A2, C1, Running, RunScenario, lines_of, token, world
from tests.delta_service.connections import Server, poll, tokens_forgotten
from tests.delta_service.histories import HISTORY, NEWEST_SEQ, cursor_at
from tests.delta_service.model import IDENTITY, World


def test_answers_from_memory_equal_those_of_the_application_for_every_cursor(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            for since in range(NEWEST_SEQ):
                # With a header that makes it a new request, which the application answers.
                expected = await connection.ask(
                    poll(bearer, "T-NORTH", f"X-Request-Id: {since}", since=cursor_at(since))
                )
                await connection.ask(poll(bearer, since=cursor_at(since)))
                asked = server.asked
                for again in range(since + 1):
                    _, body = await connection.ask(poll(bearer, since=cursor_at(again)))
                    if again == since:
                        assert (_, body) == expected
                assert server.asked == asked, "a repeated request does not reach the application"
            assert server.asked < 2 * NEWEST_SEQ + 2

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_a_new_cursor_is_answered_from_memory_where_its_difference_is_known(
    run: RunScenario,
) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            first = await connection.ask(poll(bearer, since=cursor_at(3)))
            assert server.asked == 1
            assert await connection.ask(poll(bearer, since=cursor_at(4))) == first
            assert server.asked == 1, "between 3 and 4 nothing changed in this view"
            other = poll(token(["T-NORTH", "T-SOUTH"]), since=cursor_at(3))
            assert await connection.ask(other) == first
            assert server.asked == 2, "the other token is verified"

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_all_devices_get_what_the_next_publication_brings(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearers = Server(running), [token(["T-NORTH"], sub=name) for name in "abc"]
        async with server.listening() as connect:
            connection = await connect()
            before = [await connection.ask(poll(bearer, since=cursor_at(2))) for bearer in bearers]
            await running.publish([*HISTORY, HISTORY[4]])
            asked = server.asked
            answers = [await connection.ask(poll(bearer, since=cursor_at(2))) for bearer in bearers]
            assert answers == [answers[0]] * 3
            assert answers[0][1] != before[0][1]
            assert b'"update":[{"accountId":"A1","name":"content 1"}]' in answers[0][1]
            assert server.asked == asked + 1, "the first request brings the changes into memory"

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


@pytest.mark.parametrize("other", ["since=2", f"versions=true&since={cursor_at(2)}"])
def test_no_answer_from_before_a_publication_is_given_after_it(run: RunScenario, other: str) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection, request = await connect(), poll(bearer, since=cursor_at(2))
            before = [await connection.ask(request) for _ in range(2)]
            await running.publish([*HISTORY, world({A1: 9, A2: 2}, {"T-NORTH": [A1, A2], "T-SOUTH": [A2]})])
            # When the request is repeated, the recent changes are in memory.
            await connection.ask(request.replace(f"since={cursor_at(2)}".encode(), other.encode()))
            after = await connection.ask(request)
            assert before[1] == before[0] != after
            assert b'"content 9"' in after[1]

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_cursors_of_another_scope_epoch_or_key_are_answered_by_the_application(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            await connection.ask(poll(bearer, since=cursor_at(1)))
            running.writer.prune(2, 2)
            await running.service.watch.look()
            for since in (2, 3):
                await connection.ask(poll(bearer, since=cursor_at(since)))
            for unusual, status, code in (
                (cursor_at(2, key=b"another key"), b"400", b"cursor-malformed"),
                (cursor_at(2)[:-2] + "AA", b"400", b"cursor-malformed"),
                (cursor_at(2, epoch="another"), b"409", b"cursor-epoch"),
                (cursor_at(NEWEST_SEQ + 1), b"409", b"cursor-ahead"),
                (cursor_at(1), b"410", b"cursor-expired"),
                (cursor_at(2, "T-SOUTH"), b"200", b'"insert":[{"accountId":"A1"'),
                (cursor_at(2) + "&since=" + cursor_at(3), b"400", b"parameter-invalid"),
            ):
                asked = server.asked
                head, body = await connection.ask(poll(bearer, since=unusual))
                assert head.split()[1] == status, code
                assert code in body
                assert server.asked == asked + 1

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_a_cursor_outside_the_since_parameter_is_ignored(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            for since in (1, 3):
                referred = f"Referer: /v1/delta?since={cursor_at(since)}"
                first_sync = poll(bearer, "T-NORTH", referred).replace(b"?since=4", b"")
                for _ in range(2):
                    head, _ = await connection.ask(first_sync)
                    assert b"sync-mode: replace" in head
            assert server.asked == 4
            empty = poll(bearer, "T-NORTH", "Referer: /?since=", since=cursor_at(1))
            for _ in range(2):
                await connection.ask(empty)
            moved = empty.replace(cursor_at(1).encode(), b"").replace(b"/?since=", f"/?since={cursor_at(1)}".encode())
            head, _ = await connection.ask(moved)
            assert head.split()[1] == b"400"
            # The parameter's name written with an escape, next to a header that only looks like the parameter.
            expected = await connection.ask(poll(bearer, since=3))
            assert await connection.ask(poll(bearer, since=cursor_at(2))) != expected
            for since in (2, 2, 3, 2):
                for spelt in (3, cursor_at(3)):
                    request = poll(bearer, since=spelt).replace(b"delta?since", b"delta?%73ince")
                    decoy = f"\r\nReferer: /?since={cursor_at(since)}\r\nAuthorization".encode()
                    assert await connection.ask(request.replace(b"\r\nAuthorization", decoy)) == expected

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_deltas_in_memory_are_kept_apart_by_parameters_and_coding(run: RunScenario) -> None:
    rows = [("account", f"B{number}") for number in range(50)]
    worlds = [World(), *(world(dict.fromkeys(rows, n // 2), {"T-NORTH": rows}) for n in range(2, 5))]

    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            plain, zipped = poll(bearer, since="SINCE"), poll(bearer, "T-NORTH", "Accept-Encoding: gzip", since="SINCE")
            forms = [plain, zipped, plain.replace(b"SINCE", b"SINCE&versions=true")]
            first, again = [
                [await connection.ask(form.replace(b"SINCE", cursor_at(since).encode())) for form in forms]
                for since in (1, 2)
            ]
            assert again == first
            assert [b"content-encoding: gzip" in head for head, _ in first] == [False, True, False]
            assert [b'"_v":' in body for _, body in first] == [False, False, True]
            assert server.asked == len(forms), "in each form, all but the first request are answered from memory"

    run(scenario, published=3, worlds=worlds)


def test_conditional_and_waiting_polls_are_answered_by_the_application(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            head, _ = await connection.ask(poll(bearer, since=cursor_at(3)))
            (etag,) = (
                line.removeprefix(b"etag: ").decode() for line in head.split(b"\r\n") if line.startswith(b"etag")
            )
            for since, status in ((1, b"200"), (3, b"304")):
                head, _ = await connection.ask(
                    poll(bearer, "T-NORTH", f"If-None-Match: {etag}", since=cursor_at(since))
                )
                assert head.split()[1] == status
            for since in (3, 3, 4):
                head, _ = await connection.ask(poll(bearer, "T-NORTH", "Prefer: wait=5", since=cursor_at(since)))
                assert b"preference-applied: wait=5" in head
            assert server.asked == 6

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_cursors_of_some_objects_or_of_several_views_are_answered_by_the_application(run: RunScenario) -> None:
    worlds = [World(), *(world({A1: n, C1: 1}, {"T-NORTH": [A1, C1]}) for n in (1, 2))]
    account = Anchor(("T-NORTH",), 1, ("account",))

    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            for _ in range(2):
                await connection.ask(poll(bearer, since=cursor_at(1)))
            assert server.asked == 1
            others = replace(account, seq=0, objects=("contact", "order"))
            for anchors in ((account,), (account, others)):
                since = Cursor(IDENTITY.epoch, anchors).encode(IDENTITY.cursor_key)
                _, body = await connection.ask(poll(bearer, since=since))
                assert b'"insert":[{"contactId":"C1"' in body, "the device has no contacts of publication 1"
            assert server.asked == 3

    run(scenario, published=2, worlds=worlds)


def test_a_cursor_ahead_is_refused_although_the_last_publication_changed_nothing_in_the_view(run: RunScenario) -> None:
    # A2 moves between the two territories of the scope.
    worlds = [
        World(),
        *(world({A1: 1, A2: 1}, seen) for seen in ({"T-NORTH": [A1, A2]}, {"T-NORTH": [A1], "T-SOUTH": [A2]})),
    ]

    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH", "T-SOUTH"])

        def ask(seq: int) -> bytes:
            return poll(bearer, since=cursor_at(seq, "T-NORTH", "T-SOUTH")).replace(b"/v1/territories/T-NORTH", b"/v1")

        async with server.listening() as connect:
            connection = await connect()
            for _ in range(2):
                head, _ = await connection.ask(ask(1))
                assert head.split()[1] == b"200"
            assert server.asked == 1
            head, body = await connection.ask(ask(3))
            assert head.split()[1] == b"409"
            assert b"cursor-ahead" in body

    run(scenario, published=2, worlds=worlds)


def test_a_large_delta_is_answered_from_memory_like_a_small_one(run: RunScenario) -> None:
    worlds = [World(), *(world({A1: str(n) * (SMALL_BYTES + 1)}, {"T-NORTH": [A1]}) for n in (1, 2))]

    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        async with server.listening() as connect:
            connection = await connect()
            expected = await connection.ask(poll(bearer, since=cursor_at(1)))
            assert len(expected[1]) > SMALL_BYTES
            for _ in range(2):
                assert await connection.ask(poll(bearer, since=cursor_at(1))) == expected
            assert server.asked == 1

    run(scenario, published=2, worlds=worlds)


def test_deltas_from_memory_respect_token_verification_and_the_rate_limit(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"], sub="one")
        async with server.listening() as connect:
            connection = await connect()
            await connection.ask(poll(bearer, since=cursor_at(3)))
            with tokens_forgotten(monkeypatch):
                await connection.ask(poll(bearer, since=cursor_at(4)))
                assert server.asked == 2, "the token is verified again"
            statuses = [
                (await connection.ask(poll(bearer, since=cursor_at(n % 2 + 3))))[0].split()[1] for n in range(20)
            ]
            assert statuses[0] == b"200"
            assert statuses[-1] == b"429", "each request counts"

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY, caller_requests_per_second=1)


def test_each_delta_from_memory_is_logged_with_the_cursor_of_its_request(
    run: RunScenario, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        with caplog.at_level("INFO", logger="delta_service.audit"):
            async with server.listening() as connect:
                connection = await connect()
                for since in (3, 4, 3):
                    await connection.ask(poll(bearer, since=cursor_at(since)))
                assert server.asked == 1
                for since in (3, 4):
                    await connection.ask(poll(bearer, "T-NORTH", "X-Request-Id: its-own", since=cursor_at(since)))
            write_records()
        lines = lines_of(caplog)
        assert [line.split()[2] for line in lines] == [f"from={since}@T-NORTH" for since in (3, 4, 3, 3, 4)]
        ids = [line.split("request=")[1] for line in lines]
        assert len(set(ids[:3])) == 3
        assert ids[3:] == ["its-own"] * 2

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_requests_with_cursors_can_arrive_in_any_pieces(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(["T-NORTH"])
        kinds = [poll(bearer, since=cursor_at(since)) for since in range(1, NEWEST_SEQ + 1)]
        async with server.listening() as connect:
            connection = await connect()
            expected = {kind: await connection.ask(kind) for kind in kinds}
            chance = random.Random(1)
            for _ in range(40):
                asked = chance.choices(kinds, k=chance.randint(1, 6))
                stream = b"".join(asked)
                cuts = sorted(chance.choices(range(1, len(stream)), k=chance.randint(0, 4)))
                await connection.send_cut(stream, cuts)
                assert [await connection.answer() for _ in asked] == [expected[kind] for kind in asked]
        assert server.asked < 40 * 6

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)
