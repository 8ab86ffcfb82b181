"""A finished HTTP answer: as plain ASGI sends it, and as it goes over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Up to here a body fits the buffers on the way, and nobody waits for it.
SMALL_BYTES = 131_072

Headers = list[tuple[bytes, bytes]]
AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_STATUS_LINES = {200: b"HTTP/1.1 200 OK\r\n", 304: b"HTTP/1.1 304 Not Modified\r\n"}


class Wire(NamedTuple):
    """An answer as it goes over the wire, but for its date."""

    status_line: bytes
    lines: bytes
    """Headers, and the empty line after them."""
    body: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.status_line) + len(self.lines) + len(self.body)


SendWhole = Callable[[Wire], Awaitable[bool]]
"""Sends an answer without ASGI, or nothing and returns False where that cannot be."""


@dataclass(slots=True)
class Answer:
    """Status, headers, and either a body or a stream of its pieces, which are ``bulky`` or a few bytes each."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None
    bulky: bool = False
    _wire: Wire | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def large(self) -> bool:
        """Whether a slow reader would hold much memory of ours."""
        return self.bulky or len(self.body) > SMALL_BYTES

    @property
    def sized_headers(self) -> Headers:
        """With the body's length, where it is known."""
        # 304 has no body, and a length there would be that of the representation.
        if self.stream is not None or self.status == 304:
            return self.headers
        return [*self.headers, (b"content-length", b"%d" % len(self.body))]

    @property
    def wire(self) -> Wire | None:
        """The same bytes each time. None for what has no end yet, and for problems."""
        if self._wire is None and self.stream is None and self.status in _STATUS_LINES:
            lines = [b"%s: %s\r\n" % header for header in self.sized_headers]
            self._wire = Wire(_STATUS_LINES[self.status], b"%s\r\n" % b"".join(lines), self.body)
        return self._wire

    async def send(
        self, send: Send, receive: Receive, *, head_only: bool = False, send_whole: SendWhole | None = None
    ) -> None:
        """Send all of it, and return when little of it is left to be taken by the reader; ``head_only`` answers HEAD.

        A reader that goes away ends a stream. One that is too slow is the server's matter.
        """
        if send_whole is not None and (wire := self.wire) is not None and await send_whole(wire):
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self.sized_headers})
        if self.stream is not None and not head_only:
            await _send_stream(self.stream, send, receive)
        elif len(self.body) > SMALL_BYTES and not head_only:
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            # A server takes this when it has got rid of most of that.
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": b"" if head_only else self.body})


async def _send_stream(stream: AsyncGenerator[bytes, None], send: Send, receive: Receive) -> None:
    # Servers do not fail a send to nobody, so the end of the connection has to be watched for.
    until_gone = asyncio.timeout(None)
    try:
        async with until_gone:
            watch = _ReaderWatch(receive, until_gone)
            try:
                async for piece in stream:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                watch.end()
                await stream.aclose()
    except TimeoutError:
        if not until_gone.expired():
            raise


class _ReaderWatch:
    """Expires a timeout when the reader goes away.

    By callbacks: the server's own future is all that waits, where a task for each of thousands of listeners would.
    """

    __slots__ = ("_ended", "_message", "_receive", "_until_gone")

    def __init__(self, receive: Receive, until_gone: asyncio.Timeout) -> None:
        self._receive = receive
        self._until_gone = until_gone
        self._ended = False
        self._wait()

    def end(self) -> None:
        # A message that is there already will still be heard, and the timeout is over by then.
        self._ended = True
        self._message.cancel()

    def _wait(self) -> None:
        self._message = asyncio.ensure_future(self._receive())
        self._message.add_done_callback(self._heard)

    def _heard(self, message: asyncio.Future[MutableMapping[str, Any]]) -> None:
        if self._ended or message.cancelled():
            return
        if message.exception() is None and message.result()["type"] != "http.disconnect":
            self._wait()
        else:
            self._until_gone.reschedule(asyncio.get_running_loop().time())
