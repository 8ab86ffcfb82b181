"""A finished HTTP answer, as plain ASGI sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

# A server holds a send back while its reader is slow; a reader that takes nothing for so long is cut off.
SEND_SECONDS = 30

Headers = list[tuple[bytes, bytes]]
AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class SlowReaderError(Exception):
    """The reader takes nothing; the connection is of no more use."""


@dataclass(slots=True)
class Answer:
    """Status, headers, and either a body or a stream of its pieces."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None

    async def send(self, send: Send, receive: Receive, *, head_only: bool = False) -> None:
        """Send all of it; ``head_only`` answers HEAD. Raises SlowReaderError; a reader that goes away ends a stream."""
        headers = self.headers
        # 304 has no body, and a length there would be that of the representation.
        if self.stream is None and self.status != 304:
            headers = [*headers, (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.stream is not None and not head_only:
            await _send_stream(self.stream, send, receive)
        else:
            await send({"type": "http.response.body", "body": b"" if head_only else self.body})


async def _send_stream(stream: AsyncGenerator[bytes, None], send: Send, receive: Receive) -> None:
    # Servers do not fail a send to nobody, so the end of the connection has to be watched for.
    until_gone = asyncio.timeout(None)
    try:
        async with until_gone, aclosing(stream) as pieces:
            watching = asyncio.create_task(_end_when_gone(receive, until_gone))
            try:
                async for piece in pieces:
                    await _send_piece(piece, send)
                await send({"type": "http.response.body", "body": b""})
            finally:
                watching.cancel()
    except TimeoutError:
        if not until_gone.expired():
            raise


async def _send_piece(piece: bytes, send: Send) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError as error:
        raise SlowReaderError from error


async def _end_when_gone(receive: Receive, until_gone: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    until_gone.reschedule(asyncio.get_running_loop().time())
