"""What goes wrong with an answer on its way: cut, replaced, broken or hostile in form."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from crm_simulator.injection import FaultOrder

_MAINTENANCE = (
    b"<!DOCTYPE html><html><head><title>Scheduled maintenance</title></head>"
    b"<body><h1>Oracle CRM On Demand is not available</h1><p>We are performing maintenance.</p></body></html>"
)
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Answer:
    """An answer to be sent. ``encoding`` is its content encoding; a body so marked is not compressed once more."""

    content: bytes
    status: int
    media_type: str = "text/xml;charset=UTF-8"
    encoding: str | None = None


class DroppedResponse(Response):
    """Promises more than it sends and ends there, upon which the server breaks the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/xml"), (b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'<?xml version="1.0"?>', "more_body": True})


class StalledResponse(Response):
    """Sends half of the answer, and the rest after ``seconds``."""

    def __init__(self, answer: Answer, seconds: float) -> None:
        super().__init__(answer.content, answer.status, media_type=answer.media_type)
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = len(self.body) // 2
        await send({"type": "http.response.body", "body": bytes(self.body[:half]), "more_body": True})
        await asyncio.sleep(self._seconds)
        await send({"type": "http.response.body", "body": bytes(self.body[half:])})


def spoil(answer: Answer, order: FaultOrder) -> Answer:
    """The answer as ``order`` wants it; the order's status, if it names one, goes with it."""
    spoiled = _WAYS[order.kind](answer, order) if order.kind in _WAYS else answer
    return replace(spoiled, status=order.status or spoiled.status)


def _with_declaration(declaration: str, entity: str) -> Callable[[Answer, FaultOrder], Answer]:
    """A document type with entities, one of which stands in the first text of the answer."""

    def spoiled(answer: Answer, order: FaultOrder) -> Answer:
        head, separator, rest = answer.content.partition(b"?>")
        text = re.sub(rb">[^<>]*</", f">&{entity};</".encode(), rest, count=1)
        return replace(answer, content=head + separator + declaration.encode() + text)

    return spoiled


def _billion_laughs() -> str:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{levels}]>'


def _gzip_bomb(answer: Answer, order: FaultOrder) -> Answer:
    """A well-formed answer with a comment of ``megabytes`` that packs to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head, separator, rest = answer.content.partition(b"?>")
    packed = [packer.compress(head + separator + b"<!--")]
    packed += [packer.compress(b" " * _MEGABYTE) for _ in range(order.megabytes)]
    packed += [packer.compress(b"-->" + rest), packer.flush()]
    return replace(answer, content=b"".join(packed), encoding="gzip")


def _huge_text(answer: Answer, order: FaultOrder) -> Answer:
    huge = b">" + b"x" * (order.megabytes * _MEGABYTE) + b"</"
    return replace(answer, content=re.sub(rb">[^<>]+</", lambda _: huge, answer.content, count=1))


def _without_lastpage(answer: Answer, order: FaultOrder) -> Answer:
    content = re.sub(rb' lastpage="\w+"', b"", answer.content)
    return replace(answer, content=re.sub(rb"<ns:LastPage>\w+</ns:LastPage>", b"", content))


def _without_id(answer: Answer, order: FaultOrder) -> Answer:
    return replace(answer, content=re.sub(rb"<Id>[^<]*</Id>", b"", answer.content, count=1))


def _bad_value(answer: Answer, order: FaultOrder) -> Answer:
    name = order.field.encode()
    content = re.sub(rb"<%b>[^<]*</%b>" % (name, name), b"<%b>soon</%b>" % (name, name), answer.content, count=1)
    return replace(answer, content=content)


def _no_rows(answer: Answer, order: FaultOrder) -> Answer:
    content = re.sub(rb"(<(ListOf\w+) [^>]*>).*</\2>", rb"\1</\2>", answer.content, count=1, flags=re.DOTALL)
    content = re.sub(rb'lastpage="\w+"', b'lastpage="true"', content, count=1)
    return replace(answer, content=re.sub(rb' recordcount="\w+"', b' recordcount="0"', content, count=1))


_WAYS: dict[str, Callable[[Answer, FaultOrder], Answer]] = {
    "truncated": lambda answer, _: replace(answer, content=answer.content[: len(answer.content) // 2]),
    "empty": lambda answer, _: replace(answer, content=b""),
    "html": lambda answer, _: replace(answer, content=_MAINTENANCE, media_type="text/html;charset=UTF-8"),
    "content_type": lambda answer, _: replace(answer, media_type="application/octet-stream"),
    "wrong_gzip": lambda answer, _: replace(answer, encoding="gzip"),
    "cut_gzip": lambda answer, _: replace(answer, content=gzip.compress(answer.content)[:-12], encoding="gzip"),
    "gzip_bomb": _gzip_bomb,
    "xml_entity": _with_declaration('<!DOCTYPE a [<!ENTITY inside "expanded">]>', "inside"),
    "xml_bomb": _with_declaration(_billion_laughs(), "l9"),
    "xml_external": _with_declaration('<!DOCTYPE a [<!ENTITY outside SYSTEM "file:///etc/hostname">]>', "outside"),
    "huge_text": _huge_text,
    "no_lastpage": _without_lastpage,
    "row_without_id": _without_id,
    "bad_value": _bad_value,
    "no_rows": _no_rows,
}
