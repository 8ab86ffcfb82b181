"""Answers with nothing new, and conditional requests."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter

from delta_service import metrics
from delta_service.answers import Answer, Headers
from delta_service.scoped_request import ScopedRequest


class Quiet(NamedTuple):
    """An answer with nothing new."""

    etag: bytes
    headers: Headers
    body: bytes


def quiet_answer(quiet: Quiet, request: ScopedRequest) -> tuple[Answer, Counter]:
    """200, or 304 for one who has it; and where it has been counted."""
    if request.if_none_match is not None and matches(request.if_none_match, quiet.etag):
        answer = Answer(304, [header for header in quiet.headers if header[0] != b"content-type"])
        counter = metrics.NOT_MODIFIED
    else:
        answer, counter = Answer(200, quiet.headers, quiet.body), metrics.NOTHING_NEW
    counter.inc()
    return answer, counter


def matches(if_none_match: bytes | None, etag: bytes) -> bool:
    """Weak comparison (RFC 9110): any of the listed tags, or ``*``."""
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")}
    return b"*" in tags or etag.removeprefix(b"W/") in tags
