"""The routes around the deltas: operations, documentation, the demo device."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from pathlib import Path
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from delta_service import docs, metrics
from delta_service.answers import Answer
from delta_service.audit import write_records
from delta_service.auth import Authenticator, Claims
from delta_service.explain import explain_answer
from delta_service.grant import GRANT_PATH, grant_answer
from delta_service.listing import territories_answer
from delta_service.openapi import openapi_document
from delta_service.problems import (
    ProblemError,
    method_not_allowed,
    not_found,
    refusal,
    request_id_of,
    starting,
    store_unavailable,
)
from delta_service.query import given_parameters
from delta_service.scope import EVERYTHING, held_rows
from delta_service.source import ViewSource
from delta_service.watch import StoreWatch

# The watch looks several times a second; a store not seen for so long cannot be read.
STALE_SECONDS = 60


def response(answer: Answer) -> Response:
    """An answer with a body, for Starlette."""
    found = Response(answer.body, answer.status)
    found.raw_headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    return found


def router(authenticator: Authenticator, watch: StoreWatch, source: ViewSource, device_page: Path) -> Starlette:
    """Everything but the delta routes."""

    async def territories(request: Request) -> Response:
        claims = await _claims(request)
        given_parameters(request.scope["query_string"], ())
        return response(territories_answer(claims, watch.current()))

    async def explain(request: Request) -> Response:
        claims = await _claims(request)
        return response(await explain_answer(claims, request.scope["query_string"], watch.current(), source))

    async def grant(request: Request) -> Response:
        who = _authorization(request), request.client, authenticator
        return response(await grant_answer(request.headers.get("x-original-uri", ""), *who, watch.current()))

    async def _claims(request: Request) -> Claims:
        return await authenticator.authenticate(_authorization(request), request.client)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        state = watch.current()
        if watch.stopping:
            raise starting()
        if time.monotonic() - watch.looked_at > STALE_SECONDS:
            raise store_unavailable()
        return JSONResponse({"status": "ready", "publishedSeq": state.published_seq, "asOf": state.as_of.isoformat()})

    async def metrics_page(_: Request) -> Response:
        if (state := watch.state) is not None:
            metrics.PUBLISHED_SEQ.set(state.published_seq)
            metrics.AS_OF_SECONDS.set(state.as_of.timestamp())
            held = held_rows(EVERYTHING, state).values()
            metrics.HELD_ROWS.set(sum(one.rows for one in held))
            metrics.HELD_AGE_SECONDS.set(max((time.time() - one.since.timestamp() for one in held), default=0))
        metrics.WAITING.set(watch.waiting)
        write_records()
        content = await asyncio.to_thread(metrics.exposition)
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(_: Request) -> Response:
        return JSONResponse(_document())

    async def docs_page(_: Request) -> Response:
        return HTMLResponse(docs.html_of(_document()))

    async def to_device_page(_: Request) -> Response:
        return RedirectResponse("/device/")

    def _document() -> dict[str, object]:
        return openapi_document(watch.state.objects if watch.state else ())

    device_routes: list[BaseRoute] = []
    if device_page.is_dir():
        files = StaticFiles(directory=device_page, html=True)
        device_routes = [Route("/device", to_device_page), Mount("/device", files)]
    return Starlette(
        routes=[
            Route("/v1/territories", territories),
            Route("/v1/explain", explain),
            Route(GRANT_PATH, grant),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics_page),
            Route("/openapi.json", openapi),
            Route("/docs", docs_page),
            *device_routes,
        ],
        exception_handlers={ProblemError: _refuse, HTTPException: _refuse, Exception: _refuse},
    )


def _authorization(request: Request) -> bytes | None:
    header = request.headers.get("authorization")
    return None if header is None else header.encode("latin-1")


async def _refuse(request: Request, error: Exception) -> Response:
    given = request.headers.get("x-request-id")
    request_id = request_id_of(None if given is None else given.encode("latin-1"))
    if isinstance(error, HTTPException):
        error = _problem_of(error)
    return response(refusal(error, request_id))


def _problem_of(error: HTTPException) -> ProblemError:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return not_found()
    headers = cast("dict[str, str]", error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return method_not_allowed(headers.get("Allow", "GET, HEAD"))
    return ProblemError(HTTPStatus(error.status_code), "http-error", "The request cannot be served.", headers=headers)
