"""The reference client over a transport that counts bytes, and access to its database file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import apsw
import httpx

from delta_client.connection import Connection
from delta_client.database import Database
from delta_client.device import Device, Outcome
from tests.clients.conftest import Served, bearer

View = dict[str, dict[str, str]]


class Line(httpx.BaseTransport):
    """A transport that counts bytes. After ``cut_after`` requests it fails; ``answer`` can replace answers."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.transferred_bytes = 0
        self.cut_after: int | None = None
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    @cached_property
    def inner(self) -> httpx.HTTPTransport:
        """The real network. It takes long to make, and some tests never use it."""
        return httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.cut_after is not None:
            if not self.cut_after:
                raise httpx.ConnectError("cut")
            self.cut_after -= 1
        self.requests.append(request)
        response = self.answer(request) or self.inner.handle_request(request)
        content = response.read()
        self.transferred_bytes += len(request.content) + len(content)
        return response

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


@contextmanager
def device(
    service: Served,
    path: Path,
    *territories: str,
    route: str = "/v1",
    line: Line | None = None,
    token: str | None = None,
    **options: Any,
) -> Iterator[tuple[Device, Database]]:
    with Connection(service.url, token or bearer(*territories), line) as connection, Database(path) as database:
        settings: dict[str, Any] = {"page_rows": 20, "sleep": lambda _: None} | options
        yield Device(connection, database, route, **settings), database


def rows_in(path: Path) -> View:
    found: View = {}
    for name, row_id, body in apsw.Connection(str(path)).execute("SELECT object, id, body FROM row"):
        found.setdefault(name, {})[row_id] = body
    return found


def pulled(service: Served, path: Path, *territories: str, **options: Any) -> Outcome:
    with device(service, path, *territories, **options) as (client, _):
        return client.sync(patience_seconds=20)


def damage(path: Path, statement: str) -> int:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    return connection.changes()
