"""A finished HTTP answer, as plain ASGI sends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

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
    stream: AsyncIterator[bytes] | None = None

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send all of it; ``head_only`` answers HEAD."""
        headers = self.headers
        # 304 has no body, and a length there would be that of the representation.
        if self.stream is None and self.status != 304:
            headers = [*headers, (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.stream is not None and not head_only:
            async for piece in self.stream:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": b"" if head_only else self.body})
