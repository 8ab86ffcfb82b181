"""The service behind sockets, with the connections' own protocol, and callers that send it bytes."""

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
from delta_service.answers import AsgiScope, Receive, Send
from delta_service.protocol import DeltaProtocol
from delta_service.scoped_request import SERVICE
from tests.delta_service.conftest import Running

DATE = b"Tue, 24 Nov 2026 06:00:00 GMT"


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, content: bytes) -> None:
        self._writer.write(content)

    async def send_cut(self, content: bytes, cuts: list[int], rounds: Callable[[], int] = lambda: 1) -> None:
        """In the pieces that ``cuts`` make, with as many rounds of the event loop after each as ``rounds`` says."""
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            self.send(content[start:end])
            for _ in range(rounds()):
                await asyncio.sleep(0)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body."""
        async with asyncio.timeout(10):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = header(head, b"content-length")
            body = await self._reader.readexactly(int(length)) if length is not None else b""
        return head, body

    async def ask(self, content: bytes) -> tuple[bytes, bytes]:
        self.send(content)
        return await self.answer()

    async def ended(self) -> bytes:
        """What arrives until the other side ends it."""
        async with asyncio.timeout(10):
            return await self._reader.read()

    def close(self) -> None:
        self._writer.close()


class Server:
    """The service behind sockets; counts what the application is asked, and keeps what answers the connections."""

    def __init__(self, running: Running) -> None:
        self._service = running.service
        self._settings = {"http": DeltaProtocol, "ws": "none", "lifespan": "off", "log_config": None}
        self.asked = 0
        self.protocols: list[DeltaProtocol] = []

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await self._service(scope, receive, send)

    @asynccontextmanager
    async def listening(self, keep_alive_seconds: int = 5) -> AsyncIterator[Callable[[], Any]]:
        options: Any = {**self._settings, "timeout_keep_alive": keep_alive_seconds}
        config = Config(self, proxy_headers=False, access_log=False, server_header=False, **options)
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", DATE)]

        def connection() -> DeltaProtocol:
            self.protocols.append(DeltaProtocol(config, state, {SERVICE: self._service}))
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
    """Meanwhile it is so late that a token verified till now has to be verified again."""
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr(auth, "time", SimpleNamespace(time=lambda: now + auth.REMEMBER_SECONDS + 1))
        yield


def header(head: bytes, name: bytes) -> bytes | None:
    """Of an answer; None where it has no such header."""
    lines = (line.partition(b": ") for line in head.split(b"\r\n"))
    return next((value for found, _, value in lines if found == name), None)
