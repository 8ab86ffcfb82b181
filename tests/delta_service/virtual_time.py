"""An event loop whose clock jumps to the next timer: what happens at its time is tested without waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Clock(selectors.DefaultSelector):
    """Where the loop would wait for its next timer, time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.seconds += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For work in this thread only: the answers of threads and sockets come at no time that it knows."""

    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.seconds


def run_in_virtual_time(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work)
