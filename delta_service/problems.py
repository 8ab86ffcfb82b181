"""RFC 9457 problem documents: the only form in which this service refuses anything."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from delta_service import metrics
from delta_service.answers import Answer
from delta_service.store.errors import (
    StoreDamagedError,
    StoreDiskFullError,
    StoreForbiddenError,
    StoreReadOnlyError,
    StoreUnavailableError,
)

log = logging.getLogger(__name__)

RETRY_SECONDS = 5
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class ProblemError(Exception):
    """A refusal. ``code`` is stable and for programs, ``detail`` is a sentence for people, without secrets."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        action: str | None = None,
        links: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.action = action
        self.links = links
        self.headers = headers or {}

    def document(self, request_id: str) -> dict[str, object]:
        """The members of the problem document."""
        document: dict[str, object] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "code": self.code,
            "detail": self.detail,
            "requestId": request_id,
        }
        if self.action is not None:
            document["action"] = self.action
        if self.links is not None:
            document["links"] = dict(self.links)
        return document

    def answer(self, request_id: str) -> Answer:
        """The whole refusal; never to be cached."""
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode()),
            *((name.lower().encode(), value.encode()) for name, value in self.headers.items()),
        ]
        return Answer(int(self.status), headers, orjson.dumps(self.document(request_id)))


def refusal(error: Exception, request_id: str) -> Answer:
    """Any failure as a problem document; a failure of ours is logged, and the caller learns nothing of it."""
    if not isinstance(error, ProblemError):
        log.exception("request %s failed", request_id, exc_info=error)
        error = internal()
    metrics.PROBLEMS.labels(error.code).inc()
    return error.answer(request_id)


def request_id_of(given: bytes | None) -> str:
    """The caller's ``X-Request-Id`` if it is harmless, else a new one."""
    if given is None or not _REQUEST_ID.fullmatch(given):
        return new_request_id()
    return given.decode()


def new_request_id() -> str:
    return f"{random.getrandbits(64):016x}"


def retry_after(seconds: int = RETRY_SECONDS) -> dict[str, str]:
    """A ``Retry-After`` that spreads the callers over as long again."""
    return {"Retry-After": str(seconds + random.randint(0, seconds))}  # noqa: S311


def bad_request(code: str, detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, code, detail)


def unauthorized(*, token_given: bool) -> ProblemError:
    challenge = 'Bearer error="invalid_token"' if token_given else "Bearer"
    return ProblemError(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "A valid bearer token is needed.",
        headers={"WWW-Authenticate": challenge},
    )


def scope_denied(detail: str = "The token does not cover this territory.") -> ProblemError:
    """The same whether the territory exists or not."""
    return ProblemError(HTTPStatus.FORBIDDEN, "scope-denied", detail)


def not_found(detail: str = "There is nothing at this address.") -> ProblemError:
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail)


def method_not_allowed(allowed: str) -> ProblemError:
    status = HTTPStatus.METHOD_NOT_ALLOWED
    return ProblemError(status, "method-not-allowed", f"Use {allowed}.", headers={"Allow": allowed})


def starting() -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "starting",
        "Nothing has been published yet. Keep your data and ask again.",
        action="retry",
        headers=retry_after(),
    )


# What the service saw, in words that name no place of its own.
_UNAVAILABLE: Mapping[type[StoreUnavailableError], str] = {
    StoreDamagedError: "The delta store is damaged. A sync that meets the damage replaces it; if none does,"
    " an operator has to run rebuild_delta_store.",
    StoreReadOnlyError: "The delta store is on a read-only file system, where it cannot be used.",
    StoreForbiddenError: "The delta store is not readable: the service's user may not open it.",
    StoreDiskFullError: "The delta store cannot be used: its disk is full.",
}


def store_unavailable(error: StoreUnavailableError | None = None) -> ProblemError:
    """``error``: what was seen of the store."""
    seen = _UNAVAILABLE.get(type(error), "The delta store cannot be read at present.") if error else None
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "store-unavailable",
        f"{seen or 'The delta store cannot be read at present.'} Keep your data and ask again.",
        action="retry",
        headers=retry_after(),
    )


def rate_limited(detail: str) -> ProblemError:
    status = HTTPStatus.TOO_MANY_REQUESTS
    return ProblemError(status, "rate-limited", detail, action="retry", headers=retry_after())


def too_many_connections() -> ProblemError:
    problem = rate_limited("This process has as many connections as it may. Ask again later.")
    problem.headers = {**problem.headers, "Connection": "close"}
    return problem


def too_large(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "content-too-large", detail)


def too_slow() -> ProblemError:
    return ProblemError(HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive.")


def internal() -> ProblemError:
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The service failed; its log has the request id.")
