"""The web application: the SOAP endpoint, the control API and the control page."""

from __future__ import annotations

import asyncio
import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from crm_simulator import faults
from crm_simulator.control import control_routes
from crm_simulator.crm import Crm
from crm_simulator.injection import FaultOrder, FaultScript
from crm_simulator.services import Services
from crm_simulator.sessions import LoginError, Session, Sessions
from crm_simulator.soap import Credentials, parse_call

ENDPOINT = "/Services/Integration"
_COOKIE = "JSESSIONID"
_PAGE = Path(__file__).with_name("page")
_IN_PATH = re.compile(r";jsessionid=([^/;?]+)", re.IGNORECASE)
_MAINTENANCE = (
    "<!DOCTYPE html><html><head><title>Scheduled maintenance</title></head>"
    "<body><h1>Oracle CRM On Demand is not available</h1><p>We are performing maintenance.</p></body></html>"
)


@dataclass(frozen=True)
class ServerOptions:
    """Durations in milliseconds; ``fault_status`` is the HTTP status of SOAP faults."""

    credentials: Credentials = field(default=Credentials("DEMO/INTEGRATION", "simulator-only"))
    min_interval_ms: int = 50
    latency_ms: int = 0
    fault_status: int = 500


class DroppedResponse(Response):
    """Promises more than it sends and ends there, upon which the server breaks the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/xml"), (b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'<?xml version="1.0"?>', "more_body": True})


class Endpoint:
    """``/Services/Integration``: SOAP by POST, login and logoff by either."""

    def __init__(self, crm: Crm, options: ServerOptions, script: FaultScript) -> None:
        self._options = options
        self._script = script
        self._crm = crm
        self._services = Services(crm)
        self._sessions = Sessions(options.credentials, crm.clock.now, options.min_interval_ms)

    async def handle(self, request: Request) -> Response:
        if self._options.latency_ms:
            await asyncio.sleep(self._options.latency_ms / 1000)
        command = request.query_params.get("command")
        if command == "login":
            return self._login(request)
        if command == "logoff":
            self._sessions.logoff(_session_id(request))
            return Response("logged off", media_type="text/plain")
        if request.method != "POST":
            return Response("Web services are called by POST.", media_type="text/plain")
        return await self._call(request, await request.body())

    def _login(self, request: Request) -> Response:
        encoded = request.query_params.get("isEncoded") == "Y"
        given = Credentials(
            *(_header(request, name, encoded) for name in ("UserName", "Password")),
        )
        try:
            session_id = self._sessions.login(given)
        except LoginError as error:
            self._crm.refused_sign_ins += 1
            return Response(f"<html><body>{error}</body></html>", media_type="text/html")
        response = Response("logged in", media_type="text/plain")
        response.set_cookie(_COOKIE, session_id, httponly=True)
        return response

    async def _call(self, request: Request, body: bytes) -> Response:
        session: Session | None = None
        order: FaultOrder | None = None
        status = 200
        try:
            call = parse_call(body, request.headers.get("soapaction"))
            session = self._sessions.admit(call.credentials, _session_id(request), call.keep_session)
            order = self._script.take(call.operation)
            if order is not None and order.kind == "stall":
                await asyncio.sleep(order.seconds)
            if order is not None and order.kind == "code":
                raise faults.scripted(order.code)
            text = self._services.answer(call)
        except faults.SoapFault as fault:
            self._crm.refused_sign_ins += isinstance(fault, faults.SecurityFault)
            text, status = fault.xml, self._options.fault_status
        if order is not None and order.kind == "reset":
            return DroppedResponse()
        response = self._response(request, text, status, order)
        if session is not None:
            response.set_cookie(_COOKIE, session.id, httponly=True)
        return response

    def _response(self, request: Request, text: str, status: int, order: FaultOrder | None) -> Response:
        content = text.encode()
        media_type = "text/xml;charset=UTF-8"
        if order is not None:
            status = order.status or status
            if order.kind == "truncated":
                content = content[: len(content) // 2]
            elif order.kind == "empty":
                content = b""
            elif order.kind == "html":
                content, media_type = _MAINTENANCE.encode(), "text/html;charset=UTF-8"
        headers = {"content-type": media_type}
        if "gzip" in request.headers.get("accept-encoding", ""):
            content = gzip.compress(content, compresslevel=1, mtime=0)
            headers["content-encoding"] = "gzip"
        return Response(content, status, headers)


def build_app(crm: Crm, options: ServerOptions | None = None) -> Starlette:
    """The application over a filled CRM."""
    script = FaultScript()
    endpoint = Endpoint(crm, options or ServerOptions(), script)

    async def page(request: Request) -> Response:
        return FileResponse(_PAGE / "index.html", headers={"cache-control": "no-cache"})

    return Starlette(
        routes=[
            Route(ENDPOINT + "{rest:path}", endpoint.handle, methods=["GET", "POST"]),
            *control_routes(crm, script),
            Route("/", page),
            Route("/control", page),
            Mount("/page", StaticFiles(directory=_PAGE)),
        ]
    )


def _session_id(request: Request) -> str | None:
    in_path = _IN_PATH.search(request.url.path)
    return request.cookies.get(_COOKIE) or (in_path[1] if in_path else None)


def _header(request: Request, name: str, encoded: bool) -> str:
    value = request.headers.get(name, "")
    return unquote(value) if encoded else value
