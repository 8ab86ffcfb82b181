"""Large answers begin one at a time, in order, and what happens to one does not stop the others."""

from __future__ import annotations

import asyncio

from delta_service.outflow import Turns


def test_one_begins_each_time_the_event_loop_goes_round() -> None:
    async def scenario() -> None:
        turns, begun = Turns(), list[int]()
        for number in range(3):
            turns.take(lambda number=number: begun.append(number))
        for round_ in range(4):
            assert begun == list(range(min(round_, 3)))
            await asyncio.sleep(0)
        turns.take(lambda: begun.append(3))
        await asyncio.sleep(0)
        assert begun == [0, 1, 2, 3]

    asyncio.run(scenario())


def test_one_that_fails_or_no_longer_wants_its_turn_does_not_keep_the_others_waiting() -> None:
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
