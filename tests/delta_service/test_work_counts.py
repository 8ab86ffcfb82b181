"""The cost of an answer in calls and statements, which unlike seconds do not depend on the machine and its load.

A limit is a little above the count at the time it was set. Raise it only if the cost for every device is justified.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import pytest

from delta_service.store.reader import DeltaStoreReader
from tests.delta_service.conftest import A1, A3, C1, WORLDS, Running, RunScenario, token, world
from tests.delta_service.connections import Server, first_sync, poll
from tests.delta_service.histories import HISTORY, NEWEST_SEQ, cursor_at
from tests.delta_service.stores import opened_connections

R = TypeVar("R")

CALLS_OF_A_REPEATED_POLL = 15
CALLS_OF_A_KNOWN_DELTA = 46
CALLS_OF_A_KNOWN_FIRST_SYNC = 37
CALLS_OF_A_NEW_CURSOR = 50
CALLS_OF_A_FIRST_DELTA = 260
# Begin and end of a transaction, the horizons, and four queries.
STATEMENTS_OF_A_FIRST_DELTA = 7


def counted(work: Callable[[], R]) -> tuple[int, R]:
    """The number of function calls, in Python and in C, and the result."""
    count = 0

    def note(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return count, result


@pytest.fixture
def engine() -> str:
    return "sqlite"


def test_an_answer_from_memory_takes_few_calls_and_no_statement(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        server, service, bearer = Server(running), running.service, token(["T-NORTH"])
        quiet, news = poll(bearer, since=NEWEST_SEQ), poll(bearer, since=cursor_at(3))
        async with server.listening() as connect:
            connection = await connect()
            # After the last request, what the token has access to is in memory.
            for request in (quiet, quiet, *2 * [news, first_sync(bearer)]):
                await connection.ask(request)
        monkeypatch.setattr(service.readers, "run", None)
        monkeypatch.setattr(service.readers, "run_here", None)
        for find, request, most in (
            (service.repeats.find, quiet, CALLS_OF_A_REPEATED_POLL),
            (service.asked_before.find, first_sync(bearer), CALLS_OF_A_KNOWN_FIRST_SYNC),
            (service.asked_before.find, news, CALLS_OF_A_KNOWN_DELTA),
            (
                service.asked_before.find,
                poll(bearer, since=cursor_at(4)),
                CALLS_OF_A_KNOWN_DELTA + CALLS_OF_A_NEW_CURSOR,
            ),
        ):
            calls, answer = counted(partial(find, request))
            assert answer is not None
            assert calls <= most

    run(scenario, published=NEWEST_SEQ, worlds=HISTORY)


def test_the_first_delta_takes_few_statements_and_the_next_with_another_cursor_none(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        readers, statements, calls = running.service.readers, list[str](), list[int]()
        here = readers.run_here
        with opened_connections() as opened:
            here(DeltaStoreReader.is_current)

        def note(_: object, sql: str, __: object) -> bool:
            statements.append(sql)
            return True

        (connection,) = opened
        connection.exec_trace = note

        def noted(work: Callable[[Any], Any]) -> Any:
            count, result = counted(partial(here, work))
            calls.append(count)
            return result

        monkeypatch.setattr(readers, "run_here", noted)
        for since in (1, 2, 3):
            await running.device("T-NORTH").get("north", since=cursor_at(since))
        assert len(statements) == STATEMENTS_OF_A_FIRST_DELTA
        assert calls[0] <= CALLS_OF_A_FIRST_DELTA
        others = world({A1: 1, A3: 3, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]})
        await running.publish([*WORLDS, others])
        await running.device("T-NORTH").get("north", since=cursor_at(1))
        assert len(statements) == STATEMENTS_OF_A_FIRST_DELTA, "changes in other territories cost nothing"

    run(scenario)
