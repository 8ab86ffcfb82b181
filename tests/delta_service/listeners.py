"""Listeners to ``/v1/events``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from tests.delta_service.conftest import Running, token


class Listener:
    """Speaks ASGI itself, because httpx's transport waits for the end of an answer."""

    def __init__(self, running: Running, bearer: str, last_event_id: str | None = None) -> None:
        headers = [(b"authorization", f"Bearer {bearer}".encode())]
        if last_event_id is not None:
            headers.append((b"last-event-id", last_event_id.encode()))
        self._gone = asyncio.Event()
        self._messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        scope = {
            "type": "http", "method": "GET", "path": "/v1/events", "raw_path": b"/v1/events", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 5),
        }  # fmt: skip
        self.task = asyncio.create_task(running.service(scope, self._receive, self._messages.put))

    async def _receive(self) -> MutableMapping[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def next(self) -> bytes | int:
        """The status first, then piece by piece."""
        message = await asyncio.wait_for(self._messages.get(), timeout=5)
        found: bytes | int = message["status"] if message["type"] == "http.response.start" else message["body"]
        return found

    async def event(self) -> dict[str, Any]:
        """The next event's data, with its id."""
        piece = await self.next()
        assert isinstance(piece, bytes)
        lines = dict(line.split(": ", 1) for line in piece.decode().strip().splitlines())
        assert lines["event"] == "publication"
        return {"id": lines["id"], **json.loads(lines["data"])}

    @property
    def silent(self) -> bool:
        """Whether nothing has arrived that was not read."""
        return self._messages.empty()

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, timeout=5)


@asynccontextmanager
async def listening(running: Running, *territories: str, last_event_id: str | None = None) -> AsyncIterator[Listener]:
    listener = Listener(running, token(list(territories)), last_event_id)
    assert await listener.next() == 200
    assert await listener.next() == b"retry: 5000\n\n"
    yield listener
    await listener.leave()
