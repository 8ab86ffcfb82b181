"""What the store holds now, mirrored in memory: a poll that finds nothing new asks no store.

One task per process looks every fifth of a second whether another process has committed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from delta_service.callers import UNLIMITED, Caller
from delta_service.problems import rate_limited, starting, store_unavailable
from delta_service.scope import Scope, news_seq
from delta_service.store.engine import StoreLocation, engine_at
from delta_service.store.errors import StoreDamagedError, StoreUnavailableError, StoreUnreachableError
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.views import StoreState

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
LOOK_AGAIN_SECONDS = 0.05
READER_THREADS = 4

P = ParamSpec("P")
R = TypeVar("R")


class ReaderPool:
    """A few threads, each with a connection of its own to the store that is now at the location."""

    def __init__(self, location: StoreLocation, threads: int) -> None:
        self._location = location
        self._engine = engine_at(location)
        self.is_local = self._engine.is_local
        """Whether a small read is over sooner than a change of threads."""
        self._errors: tuple[type[Exception], ...] = (StoreUnreachableError, StoreDamagedError, *self._engine.errors)
        self._broken = False
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="delta-reader")
        self._local = threading.local()

    async def run(self, work: Callable[Concatenate[DeltaStoreReader, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``work(reader, ...)`` in a thread. Raises StoreUnavailableError and what ``work`` raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: self._call(work, *args, **kwargs))

    def run_here(self, work: Callable[[DeltaStoreReader], R]) -> R:
        """Run ``work(reader)`` in the caller's thread: for what takes less time than to change threads."""
        return self._call(work)

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _call(self, work: Callable[Concatenate[DeltaStoreReader, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                result = work(self._reader(), *args, **kwargs)
            except self._errors:
                reader = self._held()
                if reader is None or reader.is_current():
                    raise
                # The server was started again since this connection was used; the next may be good.
                result = work(self._reader(), *args, **kwargs)
        except self._errors as error:
            self._drop()
            unavailable = self._engine.unavailable(error)
            if not self._broken:
                log.warning("the delta store cannot be read: %s", unavailable)
            self._broken = True
            raise unavailable from error
        if self._broken:
            log.warning("the delta store can be read again")
            self._broken = False
        return result

    def _reader(self) -> DeltaStoreReader:
        reader = self._held()
        if reader is None or not reader.is_current():
            self._drop()
            reader = self._local.reader = DeltaStoreReader(self._location)
        return reader

    def _held(self) -> DeltaStoreReader | None:
        reader: DeltaStoreReader | None = getattr(self._local, "reader", None)
        return reader

    def _drop(self) -> None:
        reader = self._held()
        self._local.reader = None
        if reader is not None:
            reader.close()


class StoreWatch:
    """Keeps :attr:`state` up to date and wakes those who wait for a change."""

    def __init__(self, location: StoreLocation, max_waiting: int) -> None:
        self._pool = ReaderPool(location, threads=1)
        self._max_waiting = max_waiting
        self._seen: tuple[DeltaStoreReader, object, StoreState | None] | None = None
        """The last read, kept by the thread that reads: of two looks at once the second may read before the first
        has come back to the loop.
        """
        self._last: StoreState | None = None
        self._unavailable: StoreUnavailableError | None = None
        """Why :attr:`state` is None; None also where nothing has been published yet."""
        self._waiting: dict[Scope, set[asyncio.Future[bool]]] = {}
        self.waiting = 0
        """Long polls and listeners that wait for a change now."""
        self.stopping = False
        self.state: StoreState | None = None
        """None until something has been published."""
        self.looked_at = 0.0
        """Monotonic seconds of the last successful look."""

    def current(self) -> StoreState:
        """What is published. Raises a 503 problem while there is nothing, or nothing can be read."""
        if self.state is None:
            # That there is no store yet is the one thing that is as it should be.
            nothing_yet = self._unavailable is None or type(self._unavailable) is StoreUnavailableError
            raise starting() if nothing_yet else store_unavailable(self._unavailable)
        return self.state

    async def reaching(self, seq: int) -> StoreState:
        """What is published, read again where a caller has seen a later publication in another process's answer.

        Raises the 503 problem also where the store is a replica that has not got this publication yet.
        """
        if self.current().published_seq < seq:
            await self.look()
            if (state := self.current()).published_seq < seq and state.is_replica:
                raise store_unavailable()
        return self.current()

    async def look(self, again_seconds: float = LOOK_AGAIN_SECONDS) -> None:
        """Bring :attr:`state` up to date if the store has changed; where it has gone, look again so much later."""
        try:
            state = await self._pool.run(self._read)
        except StoreUnavailableError as error:
            if self.state is not None and again_seconds:
                # Where it is being replaced, there is none for a moment.
                await asyncio.sleep(again_seconds)
                await self.look(again_seconds=0)
                return
            # Devices keep what they have; an answer from memory would still be right, but nothing could follow it.
            self.state, self._seen, self._unavailable = None, None, error
            return
        self.looked_at = time.monotonic()
        self.state, self._unavailable = state, None
        if state is not self._last:
            before, self._last = self._last, state
            self._wake(before, state)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("looking at the delta store failed")
            await asyncio.sleep(LOOK_SECONDS)

    def admit_waiting(self, caller: Caller) -> None:
        """Raises the 429 problem where nobody more, or nobody more of this caller, may wait."""
        if self.waiting >= self._max_waiting:
            raise rate_limited("Too many devices wait. Poll, or ask again later.")
        caller.admit_waiting()

    async def wait_for_change(
        self, scope: Scope, seen_seq: int, timeout_seconds: float, caller: Caller = UNLIMITED
    ) -> bool:
        """Return True when a publication after ``seen_seq`` is news to the scope (or the store has gone), else False:
        at the timeout or when the service stops. Raises the 429 problem where too many wait already.
        """
        if self.stopping:
            return False
        self.admit_waiting(caller)
        if self.state is None or news_seq(scope, self.state) > seen_seq:
            return True
        # Thousands wait: a bare future and its timer are the least that each can have.
        loop = asyncio.get_running_loop()
        news: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(timeout_seconds, _settle, news, False)
        others = self._waiting.setdefault(scope, set())
        others.add(news)
        self.waiting += 1
        caller.waiting += 1
        try:
            return await news
        finally:
            timer.cancel()
            self.waiting -= 1
            caller.waiting -= 1
            others.discard(news)
            if not others and self._waiting.get(scope) is others:
                del self._waiting[scope]

    def stop(self) -> None:
        """Let everybody go who waits."""
        self.stopping = True
        for scope in list(self._waiting):
            self._tell(scope, news=False)

    def close(self) -> None:
        self._pool.close()

    def _read(self, reader: DeltaStoreReader) -> StoreState | None:
        version = reader.version()
        if self._seen is not None and self._seen[0] is reader and self._seen[1] == version:
            return self._seen[2]
        read = reader.state(self._last)
        state = read if read.published_seq > 0 else None
        self._seen = reader, version, state
        return state

    def _wake(self, before: StoreState | None, state: StoreState | None) -> None:
        if state is None:
            return
        same_history = before is not None and before.generation == state.generation
        known_seq = before.published_seq if before is not None and same_history else -1
        for scope in list(self._waiting):
            if news_seq(scope, state) > known_seq:
                self._tell(scope, news=True)

    def _tell(self, scope: Scope, *, news: bool) -> None:
        for waiter in self._waiting.pop(scope):
            _settle(waiter, news)


def _settle(waiter: asyncio.Future[bool], news: bool) -> None:
    if not waiter.done():
        waiter.set_result(news)
