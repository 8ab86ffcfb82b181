"""The ASGI application: the delta routes as plain functions, everything else through Starlette's router."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from granian.utils.proxies import wrap_asgi_with_proxy_headers
from starlette.applications import Starlette

from delta_service import pages
from delta_service.answers import Answer, AsgiScope, Receive, Send, SlowReaderError
from delta_service.auth import Authenticator
from delta_service.delta import DeltaRoutes
from delta_service.events import EventRoute
from delta_service.keys import KeyRing
from delta_service.logs import configure_logging
from delta_service.outflow import Outflow
from delta_service.problems import ProblemError, method_not_allowed, refusal
from delta_service.repair import RepairRoutes
from delta_service.scoped_request import METHODS, ScopedRequest, scoped_request, scoped_route
from delta_service.settings import ServiceSettings
from delta_service.source import ViewSource
from delta_service.watch import READER_THREADS, ReaderPool, StoreWatch

AsgiApplication = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

DEVICE_PAGE = Path(__file__).parent / "device_page"


class DeltaService:
    """One process's application. Needs :meth:`running` around it, which ASGI's lifespan does."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._keys = KeyRing(settings)
        self.authenticator = Authenticator(settings, self._keys)
        self.watch = StoreWatch(settings.store_location, settings.max_waiting)
        self._pool = ReaderPool(settings.store_location, READER_THREADS)
        self.source = ViewSource(self._pool, settings.poll_seconds)
        parts = self.authenticator, self.watch, self.source
        delta, repair = DeltaRoutes(settings, *parts), RepairRoutes(settings, *parts)
        self._answers: dict[str, Callable[[ScopedRequest], Awaitable[Answer]]] = {
            "delta": delta.answer,
            "digest": repair.digest,
            "reconcile": repair.reconcile,
            "events": EventRoute(*parts).answer,
        }
        self._outflow = Outflow()
        self._stall_seconds = settings.stall_seconds
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
            self._pool.close()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
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
        try:
            if answer.large:
                await self._send_large(answer, request.request_id, send, receive, head_only=head_only)
            else:
                await answer.send(send, receive, self._stall_seconds, head_only=head_only)
        except SlowReaderError:
            log.info("request %s: cut off, its reader is too slow", request.request_id)

    async def _send_large(
        self, answer: Answer, request_id: str, send: Send, receive: Receive, *, head_only: bool
    ) -> None:
        try:
            with self._outflow.sending(answer.body):
                await answer.send(send, receive, self._stall_seconds, head_only=head_only)
        except ProblemError as problem:
            await refusal(problem, request_id).send(send, receive, self._stall_seconds, head_only=head_only)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        _on_termination(self.watch.stop)
        try:
            async with self.running():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            log.exception("the service cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


def _on_termination(let_go: Callable[[], None]) -> None:
    """Call this at the signal that ends the process: the server tells the application only when no request is left,
    and a long poll would be one for a minute.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The event loop's own handlers, with which the server notices, go on: they listen to the loop's wake-up pipe.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(let_go))


def create() -> AsgiApplication:
    """What Granian's workers load; settings come from the environment."""
    configure_logging()
    settings = ServiceSettings.from_environment()
    service = DeltaService(settings)
    if settings.trusted_proxies:
        application: AsgiApplication = wrap_asgi_with_proxy_headers(service, list(settings.trusted_proxies))
        return application
    return service
