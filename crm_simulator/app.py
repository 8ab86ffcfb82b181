"""The web application: the SOAP endpoint, the control API and the control page."""

from __future__ import annotations

import asyncio
import gzip
import re
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from crm_simulator import faults
from crm_simulator.control import control_routes
from crm_simulator.crm import Crm
from crm_simulator.fault_table import scripted
from crm_simulator.injection import FaultOrder, FaultScript
from crm_simulator.mischief import Answer, DroppedResponse, StalledResponse, spoil
from crm_simulator.request_log import Entry, RequestLog
from crm_simulator.services import Services
from crm_simulator.sessions import LoginError, Session, Sessions
from crm_simulator.soap import Credentials, parse_call

ENDPOINT = "/Services/Integration"
_COOKIE = "JSESSIONID"
_PAGE = Path(__file__).with_name("page")
_IN_PATH = re.compile(r";jsessionid=([^/;?]+)", re.IGNORECASE)


@dataclass(frozen=True)
class ServerOptions:
    """Durations in milliseconds; ``fault_status`` is the HTTP status of SOAP faults."""

    credentials: Credentials = field(default=Credentials("DEMO/INTEGRATION", "simulator-only"))
    min_interval_ms: int = 50
    latency_ms: int = 0
    fault_status: int = 500


class Endpoint:
    """``/Services/Integration``: SOAP by POST, login and logoff by either."""

    def __init__(
        self, crm: Crm, options: ServerOptions, script: FaultScript, sessions: Sessions, log: RequestLog
    ) -> None:
        self._options = options
        self._script = script
        self._crm = crm
        self._services = Services(crm)
        self._sessions = sessions
        self._log = log

    async def handle(self, request: Request) -> Response:
        entry = self._log.begin(request, _session_id(request) is not None)
        meter = self._crm.meter
        meter.requests_under_way += 1
        response = await self._answer(request, entry)
        response.headers["date"] = format_datetime(self._crm.clock.now(), usegmt=True)
        return response

    async def _answer(self, request: Request, entry: Entry) -> Response:
        meter = self._crm.meter
        try:
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
            return await self._call(request, await request.body(), entry)
        finally:
            meter.requests_under_way -= 1

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

    async def _call(self, request: Request, body: bytes, entry: Entry) -> Response:
        session: Session | None = None
        order: FaultOrder | None = None
        status = 200
        try:
            self._crm.meter.check_concurrency()
            if len(body) > self._crm.meter.limits.request_kilobytes * 1024:
                raise faults.malformed("it is larger than the limit for web service requests")
            call = parse_call(body, request.headers.get("soapaction"))
            entry.note(call)
            session = self._sessions.admit(call.credentials, _session_id(request), call.keep_session)
            order = self._script.take(call.operation)
            entry.failure = (order.code or order.kind) if order is not None else ""
            if order is not None and order.kind == "stall":
                await asyncio.sleep(order.seconds)
            if order is not None and order.kind == "code":
                raise scripted(order.code, order.case, order.language)
            text = self._services.answer(call)
        except faults.SoapFault as fault:
            self._crm.refused_sign_ins += isinstance(fault, faults.SecurityFault)
            text, status = fault.xml, self._options.fault_status
            entry.failure = entry.failure or str(fault)
        answer = Answer(text.encode(), status)
        if order is not None and order.kind == "reset":
            return DroppedResponse()
        if order is not None and order.kind == "slow_body":
            return StalledResponse(answer, order.seconds)
        response = _response(request, spoil(answer, order) if order is not None else answer)
        if session is not None:
            response.set_cookie(_COOKIE, session.id, httponly=True)
        return response


def _response(request: Request, answer: Answer) -> Response:
    content, encoding = answer.content, answer.encoding
    if encoding is None and "gzip" in request.headers.get("accept-encoding", ""):
        content, encoding = gzip.compress(content, compresslevel=1, mtime=0), "gzip"
    headers = {"content-type": answer.media_type}
    if encoding is not None:
        headers["content-encoding"] = encoding
    return Response(content, answer.status, headers)


def build_app(crm: Crm, options: ServerOptions | None = None) -> Starlette:
    """The application over a filled CRM."""
    options = options or ServerOptions()
    script = FaultScript()
    crm.meter.limits.min_interval_ms = options.min_interval_ms
    sessions = Sessions(options.credentials, crm.clock.now, crm.meter.limits)
    log = RequestLog()
    endpoint = Endpoint(crm, options, script, sessions, log)

    async def page(request: Request) -> Response:
        return FileResponse(_PAGE / "index.html", headers={"cache-control": "no-cache"})

    return Starlette(
        routes=[
            Route(ENDPOINT + "{rest:path}", endpoint.handle, methods=["GET", "POST"]),
            Route("/Services/cte/{service}", endpoint.handle, methods=["POST"]),
            *control_routes(crm, script, sessions, log),
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
