"""Cursors and page tokens: opaque to devices, signed, and complete in themselves.

A cursor names the view a device holds. Usually that is one anchor: a scope at a publication. A device that asked for
some objects only has an anchor of its own for the others, so that nothing is lost when it asks for them again.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from delta_service.scope import Scope
from delta_service.store.views import Position

MAC_BYTES = 16
MAX_TOKEN_CHARACTERS = 100_000


class TokenError(ValueError):
    """The text is no token that this store's key has signed."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Objects as a scope saw them at a publication."""

    scope: Scope
    seq: int
    objects: tuple[str, ...] | None
    """None: every object."""


@dataclass(frozen=True, slots=True)
class Cursor:
    epoch: str
    anchors: tuple[Anchor, ...]

    def encode(self, key: bytes) -> str:
        return _seal("c1", [self.epoch, [_anchor_parts(anchor) for anchor in self.anchors]], key)


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a paged delta goes on, and everything that was asked."""

    epoch: str
    generation: str
    now_seq: int
    after: Position
    scope: Scope
    anchors: tuple[Anchor, ...]
    objects: tuple[str, ...]
    limit: int
    exact: bool
    versions: bool
    reasons: bool
    envelope: bool

    def encode(self, key: bytes) -> str:
        flags = [self.exact, self.versions, self.reasons, self.envelope]
        anchors = [_anchor_parts(anchor) for anchor in self.anchors]
        parts = [self.epoch, self.generation, self.now_seq, list(self.after), self.scope, anchors, self.objects]
        return _seal("p1", [*parts, self.limit, [int(flag) for flag in flags]], key)


def decode_cursor(text: str, key: bytes, epoch: str) -> Cursor:
    """Raises TokenError; a cursor of another epoch, whose signature need not be ours, is returned unverified."""
    payload = _open("c1", text)
    try:
        found_epoch, anchors = payload
        cursor = Cursor(str(found_epoch), tuple(_anchor(parts) for parts in anchors))
    except (TypeError, ValueError) as error:
        raise TokenError from error
    if cursor.epoch == epoch:
        _verify("c1", text, key)
    return cursor


def decode_page(text: str, key: bytes, epoch: str) -> PageToken:
    """Raises TokenError; a token of another epoch is returned unverified."""
    payload = _open("p1", text)
    try:
        found_epoch, generation, now_seq, after, scope, anchors, objects, limit, flags = payload
        exact, versions, reasons, envelope = (bool(flag) for flag in flags)
        token = PageToken(
            str(found_epoch), str(generation), int(now_seq), Position(*after), tuple(scope),
            tuple(_anchor(parts) for parts in anchors), tuple(objects), int(limit), exact, versions, reasons, envelope,
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise TokenError from error
    if token.epoch == epoch:
        _verify("p1", text, key)
    return token


def _anchor_parts(anchor: Anchor) -> list[Any]:
    return [anchor.seq, anchor.scope, anchor.objects]


def _anchor(parts: Any) -> Anchor:
    seq, scope, objects = parts
    return Anchor(tuple(scope), int(seq), None if objects is None else tuple(objects))


def _seal(kind: str, payload: list[Any], key: bytes) -> str:
    content = f"{kind}.{_text(orjson.dumps(payload))}"
    return f"{content}.{_signature(content, key)}"


def _open(kind: str, text: str) -> Any:
    try:
        found_kind, payload, _ = text.split(".")
        if found_kind != kind or len(text) > MAX_TOKEN_CHARACTERS:
            raise TokenError
        return orjson.loads(_bytes(payload))
    except ValueError as error:
        raise TokenError from error


def _verify(kind: str, text: str, key: bytes) -> None:
    content, _, signature = text.rpartition(".")
    # As texts: what decoding would pass over is no part of the one text that we gave.
    if not hmac.compare_digest(_signature(content, key).encode(), signature.encode()):
        raise TokenError(kind)


def _signature(content: str, key: bytes) -> str:
    begun = _keyed(key).copy()
    begun.update(content.encode())
    return _text(begun.digest()[:MAC_BYTES])


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> hmac.HMAC:
    # To look the digest up and to take in the key costs more than all else.
    return hmac.new(key, digestmod="sha256")


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
