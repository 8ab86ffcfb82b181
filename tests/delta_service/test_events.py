"""``/v1/events`` and ``/v1/explain``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from delta_service import events
from delta_service.answers import Answer
from tests.delta_service.conftest import A1, A3, C1, WORLDS, Device, Running, RunScenario, token, world
from tests.delta_service.listeners import Listener, listening
from tests.delta_service.problems import assert_problem
from tests.waiting import until

SOUTH_ONLY = world({A1: 1, A3: 3, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]})
NORTH_TOO = world({A1: 9, A3: 3, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]})


def test_each_publication_that_touches_the_scope_is_an_event(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        async with listening(running, "T-NORTH") as north, listening(running, "T-SOUTH", "T-NORTH") as both:
            first = await north.event()
            assert first == {
                "id": first["cursor"],
                "scope": ["T-NORTH"],
                "cursor": await device.cursor(),
                "counts": {"account": 1, "contact": 1, "order": 0},
            }
            assert (await both.event())["scope"] == ["T-NORTH", "T-SOUTH"]
            await until(lambda: running.service.watch.waiting == 2)
            await running.publish([*WORLDS, SOUTH_ONLY])
            assert (await both.event())["counts"] == {"account": 2, "contact": 1, "order": 0}
            assert north.silent, "the publication did not touch its territory"
            await running.publish([*WORLDS, SOUTH_ONLY, NORTH_TOO])
            event = await north.event()
            answer = await device.get("north", since=first["cursor"])
            assert answer.headers["sync-cursor"] == event["cursor"] == event["id"]
            assert len(answer.json()["account"]["update"]) == 1
        assert running.service.watch.waiting == 0

    run(scenario)


def test_a_listener_that_reconnects_gets_only_the_events_it_missed(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        async with listening(running, "T-NORTH") as listener:
            known = (await listener.event())["id"]
        await running.publish([*WORLDS, SOUTH_ONLY])
        async with listening(running, "T-NORTH", last_event_id=known) as listener:
            await until(lambda: running.service.watch.waiting == 1)
            assert listener.silent
            await running.publish([*WORLDS, SOUTH_ONLY, NORTH_TOO])
            assert (await listener.event())["id"] != known
        for last_event_id in (known, "nonsense", "c1.e30.e30"):
            async with listening(running, "T-NORTH", last_event_id=last_event_id) as listener:
                assert (await listener.event())["counts"]["account"] == 1
        async with listening(running, "T-NORTH", "T-SOUTH", last_event_id=known) as listener:
            assert (await listener.event())["scope"] == ["T-NORTH", "T-SOUTH"], "another scope is another view"

    run(scenario)


def test_a_connection_without_events_gets_heartbeats(run: RunScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(running: Running) -> None:
        async with listening(running, "T-NORTH") as listener:
            await listener.event()
            assert await listener.next() == b":\n\n"
            assert await listener.next() == b":\n\n"

    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    run(scenario)


def test_listening_ends_when_the_token_expires_or_the_service_stops(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        short = Listener(running, token(["T-NORTH"], exp=int(time.time()) - 28))
        other = Listener(running, token(["T-NORTH"]))
        assert await short.next() == 200
        await asyncio.wait_for(short.task, timeout=10)
        assert not other.task.done()
        running.service.watch.stop()
        await asyncio.wait_for(other.task, timeout=5)

    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    run(scenario)


def test_listening_needs_a_token_and_takes_no_parameter(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        assert_problem(await running.stranger.get("/v1/events"), 401, "unauthorized")
        assert_problem(await running.device("T-NORTH").get("/v1/events?since=1"), 400, "parameter-unknown")

    run(scenario)


def test_no_more_requests_wait_than_the_limit_allows(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        for request in (device.get("/v1/events"), device.get("north", since=4, wait=60)):
            answer = await request
            assert_problem(answer, 429, "rate-limited")
            assert int(answer.headers["retry-after"]) > 0
        assert (await device.get("north", since=4)).status_code == 200, "a poll does not wait"

    run(scenario, connections=1)


def test_a_client_that_disconnects_as_its_stream_ends_causes_no_error() -> None:
    failures: list[dict[str, Any]] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, failure: failures.append(failure))

        async def pieces() -> Any:
            yield b"piece"

        async def send(_: Any) -> None:
            pass

        def receive() -> Any:
            gone = loop.create_future()
            gone.set_result({"type": "http.disconnect"})
            return gone

        await Answer(200, stream=pieces()).send(send, receive)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert failures == []


async def _explained(device: Device, territory: str, row: tuple[str, str]) -> dict[str, Any]:
    answer = await device.get("/v1/explain", territory=territory, object=row[0], rowId=row[1])
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert "content" not in answer.text, "the history contains no bodies"
    return document


def test_explain_says_why_a_row_is_or_is_not_in_a_territory(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        operator = running.device(admin=True)
        here = await _explained(operator, "T-NORTH", A1)
        assert here["visible"] is True
        assert here["why"] == "The territory sees it since publication 1."
        assert here["seenBy"] == ["T-NORTH"]
        (interval,) = here["intervals"]
        assert interval == {"fromSeq": 1, "toSeq": None, "from": "2026-11-24T06:00:15Z", "to": None}
        moved = await _explained(operator, "North", A3)
        assert moved["visible"] is False
        assert moved["why"] == "It left the territory with publication 2 and is now seen by T-SOUTH."
        assert [(v["fromSeq"], v["toSeq"], v["bodyKept"]) for v in moved["versions"]] == [(1, 4, True), (4, None, True)]
        merged = await _explained(operator, "T-NORTH", ("account", "A2"))
        assert merged["why"] == "It ended with publication 3, merged into A1."
        assert merged["mergedInto"] == "A1"
        never = await _explained(operator, "T-EAST", A1)
        assert never["why"] == "It exists, but the territory never saw it; it is now seen by T-NORTH."
        unknown = await _explained(operator, "T-NORTH", ("account", "A99"))
        assert (unknown["visible"], unknown["versions"]) == (False, [])
        assert unknown["why"] == "No such row was published."
        await running.publish([*WORLDS, world({A1: 1}, {})])
        assert (await _explained(operator, "T-NORTH", A1))["why"].endswith("now seen by no territory.")

    run(scenario)


def test_explain_is_for_operators(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        path = "/v1/explain?territory=T-NORTH&object=account&rowId=A1"
        assert_problem(await running.stranger.get(path), 401, "unauthorized")
        for claims in ({}, {"admin": "true"}, {"admin": 1}):
            assert_problem(await running.device("T-NORTH", **claims).get(path), 403, "scope-denied")
        operator = running.device(admin=True)
        assert_problem(await operator.get("/v1/explain?territory=T-NORTH"), 400, "parameter-invalid")
        assert_problem(await operator.get(path.replace("account", "martian")), 400, "object-unknown")
        assert_problem(await operator.get(path.replace("T-NORTH", "T-NOWHERE")), 404, "not-found")
        assert_problem(await operator.get(path + "&more=1"), 400, "parameter-unknown")
        assert_problem(await operator.get("/v1/delta?since=4&body=1"), 400, "parameter-unknown")

    run(scenario)
