"""An answer as the service gives it: what its headers say of the view, and its rows with their texts as served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

_BLANKS = re.compile(r"[ \t\r\n]*")
# Numbers are never looked at, so none is converted.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


class AnswerError(Exception):
    """The answer is not what the contract says; nothing of it may be applied."""


class Operation(NamedTuple):
    """``text`` is the row's JSON object exactly as served; None for a row that is to be deleted."""

    object: str
    row_id: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the headers say. ``cursor`` is there on the last page, ``next_page`` on all others."""

    cursor: str | None
    next_page: str | None
    replaces: bool
    """Rows that the whole answer does not list are to be removed."""
    counts: Mapping[str, int]
    """Rows of the whole view, not of this page."""
    digests: Mapping[str, str]
    next_expected_seconds: int
    held: Mapping[str, int]
    """Rows that are held back, by object: they may be outdated. Empty nearly always."""
    held_since: str | None
    """RFC 3339."""

    @property
    def total_rows(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Answer:
    facts: Facts
    body: str


def facts_of(headers: Mapping[str, str], next_page: str | None) -> Facts:
    """Raises AnswerError where something is missing without which nothing would be proven."""
    try:
        complete = {"true": True, "false": False}[headers["sync-complete"]]
        facts = Facts(
            cursor=headers["sync-cursor"] if complete else None,
            next_page=None if complete else next_page,
            replaces=headers.get("sync-mode") == "replace",
            counts={name: int(count) for name, count in _pairs(headers["sync-counts"])},
            digests=dict(_pairs(headers["sync-digest"])),
            next_expected_seconds=int(headers["sync-next-expected"]),
            held={name: int(count) for name, count in _pairs(headers.get("sync-held"))},
            held_since=headers.get("sync-held-since"),
        )
    except (KeyError, ValueError) as error:
        raise AnswerError(f"a header is missing or wrong: {error}") from error
    if facts.cursor is None and facts.next_page is None:
        raise AnswerError("the answer goes on, and does not say where")
    if facts.counts.keys() != facts.digests.keys():
        raise AnswerError("counts and digests are of different objects")
    return facts


def operations_of(body: str) -> Iterator[Operation]:
    """The entries of an answer's body, in its order. Raises AnswerError, possibly after some of them."""
    scan = _Scanner(body)
    try:
        for name in scan.members():
            for kind in scan.members():
                for text, entry in scan.items():
                    deleted = kind == "deleted"
                    row_id = entry["rowId" if deleted else f"{name}Id"]
                    if not isinstance(row_id, str):
                        raise TypeError("a row id is no text")
                    yield Operation(name, row_id, None if deleted else text)
        scan.end()
    except (ValueError, LookupError, TypeError) as error:
        raise AnswerError(f"the body cannot be read: {type(error).__name__}") from error


class _Scanner:
    """Walks over JSON text; ``json`` itself reads the values and so tells where each one ends."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def members(self) -> Iterator[str]:
        for _ in self._until("{", "}"):
            _, name = self._value()
            self._take(":")
            yield name

    def items(self) -> Iterator[tuple[str, Any]]:
        for _ in self._until("[", "]"):
            yield self._value()

    def end(self) -> None:
        if self._peek():
            raise ValueError("the answer goes on after its end")

    def _until(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self._peek() != closing:
            yield
            while self._peek() == ",":
                self._take(",")
                yield
        self._take(closing)

    def _value(self) -> tuple[str, Any]:
        self._peek()
        start = self._at
        value, self._at = _DECODER.raw_decode(self._text, start)
        return self._text[start : self._at], value

    def _peek(self) -> str:
        blanks = _BLANKS.match(self._text, self._at)
        self._at = blanks.end() if blanks else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise ValueError(f"expected {character} at {self._at}")
        self._at += 1


def _pairs(header: str | None) -> Iterator[tuple[str, str]]:
    """``a=1, b=2``; none without the header."""
    for part in () if header is None else header.split(","):
        name, separator, value = part.strip().partition("=")
        if not separator:
            raise ValueError(header)
        yield name, value
