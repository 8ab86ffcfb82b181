"""The service behind sockets, with the real HTTP protocol, and clients that send bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from delta_service import auth
from delta_service.answers import AsgiScope, Receive, Send, Wire
from delta_service.protocol import DeltaProtocol
from delta_service.scoped_request import SERVICE
from tests.delta_service.conftest import Running

DATE = b"Tue, 24 Nov 2026 06:00:00 GMT"


class Connection:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, content: bytes) -> None:
        self._writer.write(content)

    async def send_cut(self, content: bytes, cuts: list[int], rounds: Callable[[], int] = lambda: 1) -> None:
        """Send ``content`` cut at the positions ``cuts``; the event loop runs ``rounds()`` times after each piece."""
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            self.send(content[start:end])
            for _ in range(rounds()):
                await asyncio.sleep(0)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body."""
        head = await self.head()
        length = header(head, b"content-length")
        async with asyncio.timeout(10):
            body = await self._reader.readexactly(int(length)) if length is not None else b""
        return head, body

    async def head(self) -> bytes:
        """Alone, as HEAD is answered."""
        async with asyncio.timeout(10):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def ask(self, content: bytes) -> tuple[bytes, bytes]:
        self.send(content)
        return await self.answer()

    async def ended(self) -> bytes:
        """What arrives until the server closes the connection."""
        async with asyncio.timeout(10):
            return await self._reader.read()

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        """Disconnect at once, whatever is still to be sent or read."""
        self._writer.transport.abort()


class ObservedProtocol(DeltaProtocol):
    """The server's end of a connection; counts what arrives, and keeps the answers that leave in one piece."""

    def __init__(self, *arguments: Any, sent_whole: list[Wire]) -> None:
        super().__init__(*arguments)
        self.received_bytes = 0
        self._sent_whole = sent_whole

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        super().data_received(data)

    def write_whole(self, answer: Wire) -> None:
        self._sent_whole.append(answer)
        super().write_whole(answer)


class Server:
    """The service behind sockets. Counts the requests that reach the application, and observes the connections."""

    def __init__(self, running: Running) -> None:
        self._service = running.service
        self._settings = {"http": DeltaProtocol, "ws": "none", "lifespan": "off", "log_config": None}
        self._state = ServerState()
        self.asked = 0
        """Requests that reached the application."""
        self.finished = 0
        """Those of them that it has answered, or given up."""
        self.protocols: list[ObservedProtocol] = []
        """Of all connections, in the order in which they were accepted."""
        self.sent_whole: list[Wire] = []
        """Answers that left in one piece, on any connection."""

    @property
    def connection_count(self) -> int:
        return len(self._state.connections)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        self.asked += 1
        try:
            await self._service(scope, receive, send)
        finally:
            self.finished += 1

    @asynccontextmanager
    async def listening(self, keep_alive_seconds: int = 5) -> AsyncIterator[Callable[[], Any]]:
        options: Any = {**self._settings, "timeout_keep_alive": keep_alive_seconds}
        config = Config(self, proxy_headers=False, access_log=False, server_header=False, **options)
        config.load()
        self._state.default_headers = [(b"date", DATE)]

        def connection() -> ObservedProtocol:
            arguments = config, self._state, {SERVICE: self._service}
            self.protocols.append(ObservedProtocol(*arguments, sent_whole=self.sent_whole))
            return self.protocols[-1]

        server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        opened: list[Connection] = []

        async def connect() -> Connection:
            opened.append(Connection(*await asyncio.open_connection("127.0.0.1", port)))
            return opened[-1]

        try:
            yield connect
        finally:
            for each in opened:
                each.close()
            server.close()


def poll(bearer: str, territory: str = "T-NORTH", *lines: str, since: int | str = 4, method: str = "GET") -> bytes:
    head = [f"{method} /v1/territories/{territory}/delta?since={since} HTTP/1.1", "Host: x"]
    return "\r\n".join([*head, f"Authorization: Bearer {bearer}", *lines, "", ""]).encode()


def first_sync(bearer: str, territory: str = "T-NORTH", *lines: str, parameters: str = "") -> bytes:
    return poll(bearer, territory, *lines).replace(b"?since=4", parameters.encode())


@contextmanager
def tokens_forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the clock ahead, so that tokens verified until now have to be verified again."""
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr(auth, "time", SimpleNamespace(time=lambda: now + auth.REMEMBER_SECONDS + 1))
        yield


def header(head: bytes, name: bytes) -> bytes | None:
    """The value of an answer's header; None where it has no such header."""
    lines = (line.partition(b": ") for line in head.split(b"\r\n"))
    return next((value for found, _, value in lines if found == name), None)
