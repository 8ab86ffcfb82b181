"""Requests to the service, and its refusals as exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from delta_client.answer import Answer, AnswerError, facts_of

CONNECT_SECONDS = 10
# Longer than the service holds a question, so that only a dead connection is given up.
READ_SECONDS = 90


class UnreachableError(Exception):
    """No answer, or only a part of one: nothing is known, nothing was applied."""


class ProblemError(Exception):
    """A refusal (RFC 9457). ``code`` is the stable name; empty when something in between refused."""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after_seconds: int | None) -> None:
        self.status = status
        self.code = str(document.get("code", ""))
        self.action = str(document.get("action", ""))
        self.retry_after_seconds = retry_after_seconds
        detail = document.get("detail") or "The service gave no reason."
        super().__init__(f"{status} {self.code}: {detail} (request {document.get('requestId', 'unknown')})")


class Connection:
    """Asks the service at ``url`` with one bearer token (None: an insecure development service)."""

    def __init__(self, url: str, token: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=url,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(CONNECT_SECONDS, read=READ_SECONDS),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def delta(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Answer:
        """A page of a delta: ``path`` is the route's, or what the page before names as the next."""
        return self._answer(self._ask("GET", path, params=parameters or None))

    def objects(self, path: str) -> list[str]:
        """The objects that the digest route counts."""
        return list(self._document(self._ask("GET", path), "counts")["counts"])

    def comparison(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """First round of a repair: ``{cursor, differing}``."""
        return self._document(self._ask("POST", path, json=body), "cursor", "differing")

    def repair(self, path: str, body: Mapping[str, object]) -> Answer:
        """Second round of a repair: a delta."""
        return self._answer(self._ask("POST", path, json=body))

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **content)
        except httpx.HTTPError as error:
            raise UnreachableError(f"The service does not answer: {type(error).__name__}") from error
        if response.status_code == 200:
            return response
        raise ProblemError(response.status_code, _problem_document(response), _retry_after_seconds(response))

    def _answer(self, response: httpx.Response) -> Answer:
        link = response.links.get("next", {}).get("url")
        # The token goes to the service and nowhere else, whatever an answer says.
        if link is not None and not (link.startswith("/") and not link.startswith("//")):
            raise AnswerError("the next page is not at this service")
        return Answer(facts_of(response.headers, link), response.content.decode())

    def _document(self, response: httpx.Response, *members: str) -> dict[str, Any]:
        document = _json_object(response)
        if not document.keys() >= set(members):
            raise AnswerError(f"the answer has no {' or no '.join(members)}")
        return document


def _problem_document(response: httpx.Response) -> dict[str, Any]:
    """A refusal may come from something in between that knows no problem documents."""
    if response.headers.get("content-type", "").partition(";")[0] != "application/problem+json":
        return {}
    return _json_object(response)


def _json_object(response: httpx.Response) -> dict[str, Any]:
    """Empty where the body is none."""
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after_seconds(response: httpx.Response) -> int | None:
    text = response.headers.get("retry-after", "")
    return int(text) if text.isascii() and text.isdigit() else None
