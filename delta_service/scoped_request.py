"""Requests of the routes that answer about a scope, as plain ASGI brings them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import unquote

from delta_service.answers import AsgiScope, Receive, SendWhole
from delta_service.problems import request_id_of, too_large, too_slow

EVENTS = "/v1/events"
TERRITORY_PREFIX = "/v1/territories/"
WHOLE_SCOPE = {f"/v1/{name}": name for name in ("delta", "digest", "reconcile")}
METHODS = {"delta": ("GET", "HEAD"), "digest": ("GET", "HEAD"), "events": ("GET", "HEAD"), "reconcile": ("POST",)}

NDJSON = b"application/x-ndjson"

SERVICE = "delta_service"
"""The running service in the state that the server hands from the lifespan to each connection."""
WIRE = "delta_service.wire"
"""An ASGI extension of ours, where a request came whole and may be repeated: its bytes, and how to answer at once."""
BODY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ScopedRequest:
    """What of an HTTP request matters here; absent headers are None."""

    territory: str | None
    """None: all that the token names."""
    query_string: bytes
    client: tuple[str, int] | None
    request_id: str
    receive: Receive
    authorization: bytes | None = None
    accept: bytes | None = None
    accept_encoding: bytes | None = None
    if_none_match: bytes | None = None
    prefer: bytes | None = None
    last_event_id: bytes | None = None
    request_bytes: bytes | None = None
    send_whole: SendWhole | None = None
    """See :data:`WIRE`."""

    @property
    def ndjson(self) -> bool:
        return self.accept is not None and NDJSON in self.accept.lower()

    async def body(self, max_bytes: int) -> bytes:
        """The whole body. Raises the 413 problem as soon as it is too large, 408 when it does not arrive."""
        pieces, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise too_slow()
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > max_bytes:
                        raise too_large(f"A body here has at most {max_bytes} bytes.")
                    if not message.get("more_body", False):
                        return b"".join(pieces)
        except TimeoutError:
            raise too_slow() from None


def scoped_request(scope: AsgiScope, receive: Receive, territory: str | None) -> ScopedRequest:
    """The request of a route that :func:`scoped_route` has found."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    wire = (scope.get("extensions") or {}).get(WIRE, {})
    return ScopedRequest(
        territory=territory,
        query_string=scope["query_string"],
        client=scope.get("client"),
        request_id=request_id_of(headers.get(b"x-request-id")),
        receive=receive,
        authorization=headers.get(b"authorization"),
        accept=headers.get(b"accept"),
        accept_encoding=headers.get(b"accept-encoding"),
        if_none_match=headers.get(b"if-none-match"),
        prefer=headers.get(b"prefer"),
        last_event_id=headers.get(b"last-event-id"),
        request_bytes=wire.get("request_bytes"),
        send_whole=wire.get("send_whole"),
    )


def scoped_route(scope: AsgiScope) -> tuple[str, str | None] | None:
    """The name of the route, and the territory in its path; None where another part of the service is asked."""
    path: str = scope["path"]
    if (name := WHOLE_SCOPE.get(path)) is not None:
        return name, None
    if path == EVENTS:
        return "events", None
    if not path.startswith(TERRITORY_PREFIX):
        return None
    # Only the raw path tells a slash from an escaped one.
    raw: bytes | None = scope.get("raw_path")
    if raw is not None:
        path = raw.partition(b"?")[0].decode("latin-1")
    territory, _, name = path.removeprefix(TERRITORY_PREFIX).rpartition("/")
    if f"/v1/{name}" not in WHOLE_SCOPE or not territory or "/" in territory:
        return None
    return name, unquote(territory) if raw is not None else territory
