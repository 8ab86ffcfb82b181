"""What the CRM will do later: the second steps of its engines, and events that become visible after their stamp."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime
from itertools import count


class Agenda:
    """Work by the time it is due. Nothing runs by itself: :meth:`run` is called before anybody looks."""

    def __init__(self) -> None:
        self._entries: list[tuple[datetime, int, Callable[[], object]]] = []
        self._numbers = count()

    def add(self, due: datetime, work: Callable[[], object]) -> None:
        heapq.heappush(self._entries, (due, next(self._numbers), work))

    def run(self, now: datetime) -> None:
        """Do what is due, in order."""
        while self._entries and self._entries[0][0] <= now:
            heapq.heappop(self._entries)[2]()

    def __len__(self) -> int:
        return len(self._entries)
