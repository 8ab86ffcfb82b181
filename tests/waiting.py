"""Waiting for a condition, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.05
LOOP_INTERVAL_SECONDS = 0.01


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return as soon as the condition is true. Raises AssertionError, which names ``what``, after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(INTERVAL_SECONDS)


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """The same within an event loop; the line that awaits it says what for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"the condition is not true within {seconds:g} s")
        await asyncio.sleep(LOOP_INTERVAL_SECONDS)
