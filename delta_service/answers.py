"""A finished HTTP answer, as plain ASGI sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

SEND_SECONDS = 30

Headers = list[tuple[bytes, bytes]]
AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Answer:
    """Status, headers, and either a body or a stream of its pieces."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send all of it; ``head_only`` answers HEAD."""
        headers = self.headers
        # 304 has no body, and a length there would be that of the representation.
        if self.stream is None and self.status != 304:
            headers = [*headers, (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.stream is not None and not head_only:
            async with aclosing(self.stream) as stream:
                async for piece in stream:
                    # The server waits for a reader that is slow; this is how long it may.
                    async with asyncio.timeout(SEND_SECONDS):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": b"" if head_only else self.body})
