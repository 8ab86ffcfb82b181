"""Large answers on their way: how much memory their readers, however slow, can hold; and that they take turns."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

MAX_BYTES = 512 * 2**20
# What one reader holds: the server's buffers and the next piece, of a finished body or of a stream being made.
READER_BYTES = 256 * 2**10
STREAM_READER_BYTES = 2 * 2**20


class Outflow:
    """Counts readers, and bodies, each once for all who are being sent it."""

    def __init__(self) -> None:
        self.size_bytes = 0
        """What readers hold now."""
        self._readers: Counter[int] = Counter()

    @property
    def reader_count(self) -> int:
        """Connections that large answers are being sent to."""
        return self._readers.total()

    @property
    def body_count(self) -> int:
        """Different bodies among them; all streams count as one."""
        return len(self._readers)

    def has_room(self, body: bytes) -> bool:
        """Whether it (empty: a stream) may be sent to one more reader."""
        return not self.size_bytes or self.size_bytes + self._added_bytes(body) <= MAX_BYTES

    def begin(self, body: bytes) -> None:
        """One more reader is being sent it."""
        self.size_bytes += self._added_bytes(body)
        self._readers[id(body)] += 1

    def end(self, body: bytes) -> None:
        """One reader has most of it, or is gone."""
        self.size_bytes -= _reader_bytes(body)
        self._readers[id(body)] -= 1
        if not self._readers[id(body)]:
            del self._readers[id(body)]
            self.size_bytes -= len(body)

    def _added_bytes(self, body: bytes) -> int:
        # A body stays the same object as long as anybody is being sent it.
        return _reader_bytes(body) + (len(body) if id(body) not in self._readers else 0)


class Turns:
    """Lets one large answer begin each time the event loop has looked at its sockets.

    The kernel takes a good part of a millisecond for one. Whoever polls while many begin waits for one of them, not
    for all.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, begin: Callable[[], None]) -> None:
        """Call ``begin`` when those who came before have begun."""
        self._waiting.append(begin)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    @property
    def waiting_count(self) -> int:
        """Large answers that have not begun."""
        return len(self._waiting)

    async def mine(self) -> None:
        """Wait for a turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.take(partial(_begin, turn))
        await turn

    def _next(self) -> None:
        begin = self._waiting.popleft()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        begin()


def _begin(turn: asyncio.Future[None]) -> None:
    # Who waited may be gone.
    if not turn.done():
        turn.set_result(None)


def _reader_bytes(body: bytes) -> int:
    return READER_BYTES if body else STREAM_READER_BYTES
