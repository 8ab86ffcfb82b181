"""Results that many callers want at once: made once, kept while there is room, or for one state of the store."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from delta_service.store.views import StoreState

R = TypeVar("R")


class SharedResults(Generic[R]):
    """A least-recently-used cache bounded in bytes, with one maker for each key at a time."""

    def __init__(self, max_bytes: int, size_of: Callable[[R], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._bytes = 0
        self._kept: OrderedDict[Hashable, R] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[R]] = {}

    def kept(self, key: Hashable) -> R | None:
        result = self._kept.get(key)
        if result is not None:
            self._kept.move_to_end(key)
        return result

    def in_the_making(self, key: Hashable) -> bool:
        return key in self._making

    def keep(self, key: Hashable, result: R) -> None:
        """While there is room."""
        size = self._size_of(result)
        # One that would push out a good part of the others is better made again.
        if key not in self._kept and size <= self._max_bytes // 4:
            self._kept[key] = result
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= self._size_of(dropped)

    async def get(self, key: Hashable, make: Callable[[], Awaitable[R]]) -> R:
        """The kept result, or the one somebody is making, or a new one. Failures are shared but not kept."""
        result = self.kept(key)
        if result is not None:
            return result
        task = self._making.get(key)
        if task is None:
            task = asyncio.ensure_future(self._make(key, make))
            self._making[key] = task
        # One caller that goes away must not take the result from the others.
        return await asyncio.shield(task)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[R]]) -> R:
        try:
            result = await make()
        finally:
            del self._making[key]
        self.keep(key, result)
        return result


class OfState(Generic[R]):
    """What holds for one state of the store only: with the first that is asked about another it begins anew.

    Not emptied, but left behind, so that what is still being made for the old state finds its way there.
    """

    def __init__(self, begin: Callable[[], R]) -> None:
        self._begin = begin
        self.state: StoreState | None = None
        self.results = begin()
        """What holds for :attr:`state`."""

    def at(self, state: StoreState) -> R:
        if state is not self.state:
            self.results, self.state = self._begin(), state
        return self.results
