"""The ASGI application: the delta routes as plain functions, everything else through Starlette's router."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from delta_service import pages
from delta_service.answers import Answer, AsgiScope, Receive, Send
from delta_service.asked_before import AskedBefore
from delta_service.audit import write_records
from delta_service.auth import Authenticator
from delta_service.delta import DeltaRoutes
from delta_service.events import EventRoute
from delta_service.keys import KeyRing
from delta_service.logs import configure_logging
from delta_service.outflow import Outflow, Turns
from delta_service.problems import method_not_allowed, rate_limited, refusal
from delta_service.repair import RepairRoutes
from delta_service.repeats import Repeats
from delta_service.scoped_request import METHODS, SERVICE, ScopedRequest, scoped_request, scoped_route
from delta_service.settings import ServiceSettings
from delta_service.source import ViewSource
from delta_service.watch import READER_THREADS, ReaderPool, StoreWatch

AsgiApplication = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

COLLECT_AFTER_OBJECTS = 20_000
DEVICE_PAGE = Path(__file__).parent / "device_page"


class DeltaService:
    """One process's application. Needs :meth:`running` around it, which ASGI's lifespan does."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self._keys = KeyRing(settings)
        self.authenticator = Authenticator(settings, self._keys)
        self.watch = StoreWatch(settings.store_location, settings.max_waiting)
        self.readers = ReaderPool(settings.store_location, READER_THREADS)
        """Every read that answers a request goes through it."""
        self.source = ViewSource(self.readers, settings.poll_seconds)
        self.repeats = Repeats(self.authenticator, self.watch)
        parts = self.authenticator, self.watch, self.source
        self.outflow = Outflow()
        self.turns = Turns()
        self.asked_before = AskedBefore(*parts, self.outflow)
        delta = DeltaRoutes(settings, *parts, self.repeats, self.asked_before)
        repair = RepairRoutes(settings, *parts)
        self._answers: dict[str, Callable[[ScopedRequest], Awaitable[Answer]]] = {
            "delta": delta.answer,
            "digest": repair.digest,
            "reconcile": repair.reconcile,
            "events": EventRoute(*parts).answer,
        }
        self._router: Starlette = pages.router(*parts, DEVICE_PAGE)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the state of the store up to date meanwhile."""
        await self._keys.load()
        await self.watch.look()
        looking = asyncio.create_task(self.watch.run())
        try:
            yield
        finally:
            self.watch.stop()
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            self.watch.close()
            self.readers.close()
            write_records()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        route = scoped_route(scope)
        if route is None:
            # Starlette raises again what it has answered and logged, for servers that want to know.
            with suppress(Exception):
                await self._router(scope, receive, send)
            return
        name, territory = route
        request = scoped_request(scope, receive, territory)
        method = scope["method"]
        # Thousands wait here for news, and what is still wanted of this is in the request.
        del scope
        try:
            if method not in METHODS[name]:
                raise method_not_allowed(", ".join(METHODS[name]))
            answer = await self._answers[name](request)
        except Exception as error:
            answer = refusal(error, request.request_id)
        head_only = method == "HEAD"
        if answer.large:
            await self._send_large(answer, request, send, head_only=head_only)
        else:
            await answer.send(send, receive, head_only=head_only, send_whole=request.send_whole)

    async def _send_large(self, answer: Answer, request: ScopedRequest, send: Send, *, head_only: bool) -> None:
        if not self.outflow.has_room(answer.body):
            problem = rate_limited("Too many devices take large answers at once. Ask again later.")
            await refusal(problem, request.request_id).send(send, request.receive, head_only=head_only)
            return
        self.outflow.begin(answer.body)
        try:
            await answer.send(send, request.receive, head_only=head_only, send_whole=request.send_whole)
        finally:
            self.outflow.end(answer.body)

    async def _lifespan(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await receive()
        # What the connections' protocol asks without ASGI.
        scope["state"][SERVICE] = self
        try:
            async with self.running():
                # Requests leave no cycles, and what is there now stays: a twentieth of the time went into walking it.
                gc.freeze()
                gc.set_threshold(COLLECT_AFTER_OBJECTS)
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            log.exception("the service cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


def create() -> AsgiApplication:
    """What the server's workers load; settings come from the environment."""
    configure_logging()
    settings = ServiceSettings.from_environment()
    service = DeltaService(settings)
    if settings.trusted_proxies:
        return cast(AsgiApplication, ProxyHeadersMiddleware(cast(Any, service), list(settings.trusted_proxies)))
    return service
