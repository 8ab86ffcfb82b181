"""The query parameters of a delta, checked: what is unknown or out of range is refused, not ignored."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from urllib.parse import parse_qsl

from delta_service.cursor import Cursor, PageToken, TokenError, decode_cursor, decode_page
from delta_service.problems import bad_request
from delta_service.stamps import Stamp, parse_stamp
from delta_service.store.changes import OPEN_SEQ

DEFAULT_LIMIT_ROWS = 5_000
MAX_LIMIT_ROWS = 50_000
MAX_WAIT_SECONDS = 60
MAX_QUERY_BYTES = 150_000

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+ -]\d\d:\d\d)")
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)

Since = Cursor | int | datetime | Stamp | None


@dataclass(frozen=True, slots=True)
class StoreNames:
    """What a query is read against. Hashable, so that a query asked again need not be read again."""

    objects: tuple[str, ...]
    epoch: str
    cursor_key: bytes


@dataclass(frozen=True, slots=True)
class DeltaQuery:
    since: Since = None
    page: PageToken | None = None
    """Replaces everything else."""
    limit: int = DEFAULT_LIMIT_ROWS
    objects: tuple[str, ...] | None = None
    """A subset in the store's order; None for all."""
    versions: bool = False
    reasons: bool = False
    envelope: bool = False
    wait_seconds: int = 0


@dataclass(frozen=True, slots=True)
class DigestQuery:
    at: Since
    """The view asked about; None for the newest."""
    objects: tuple[str, ...] | None
    buckets: bool


@dataclass(frozen=True, slots=True)
class RepairQuery:
    versions: bool
    envelope: bool


@lru_cache(maxsize=4096)
def parse_query(query_string: bytes, names: StoreNames) -> DeltaQuery:
    """Raises the 400 problems."""
    given = given_parameters(query_string, PARAMETERS)
    if "page" in given:
        if len(given) > 1:
            raise bad_request("parameter-invalid", "The parameter 'page' stands alone.")
        return DeltaQuery(page=_page(given["page"], names))
    return DeltaQuery(
        since=_since(given["since"], names) if "since" in given else None,
        limit=_number(given, "limit", DEFAULT_LIMIT_ROWS, 1, MAX_LIMIT_ROWS, "limit-invalid"),
        objects=_objects(given["objects"], names) if "objects" in given else None,
        versions=_flag(given, "versions"),
        reasons=_flag(given, "reasons"),
        envelope=_flag(given, "envelope"),
        wait_seconds=_number(given, "wait", 0, 0, MAX_WAIT_SECONDS, "parameter-invalid"),
    )


PARAMETERS = {"since", "page", "limit", "objects", "versions", "reasons", "envelope", "wait"}


@lru_cache(maxsize=1024)
def parse_digest_query(query_string: bytes, names: StoreNames) -> DigestQuery:
    """Raises the 400 problems."""
    given = given_parameters(query_string, {"cursor", "objects", "buckets"})
    return DigestQuery(
        at=_since(given["cursor"], names) if "cursor" in given else None,
        objects=_objects(given["objects"], names) if "objects" in given else None,
        buckets=_flag(given, "buckets"),
    )


def parse_repair_query(query_string: bytes) -> RepairQuery:
    """Raises the 400 problems."""
    given = given_parameters(query_string, {"versions", "envelope"})
    return RepairQuery(versions=_flag(given, "versions"), envelope=_flag(given, "envelope"))


def given_parameters(query_string: bytes, known: Collection[str]) -> dict[str, str]:
    """Each parameter once, and only known ones. Raises the 400 problems."""
    if len(query_string) > MAX_QUERY_BYTES:
        raise bad_request("parameter-invalid", "The query is too long.")
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query_string))
    except ValueError:
        raise bad_request("parameter-invalid", "The query cannot be read.") from None
    given = dict(pairs)
    if unknown := sorted(given.keys() - set(known)):
        raise bad_request("parameter-unknown", f"There is no parameter {unknown[0][:40]!r}.")
    if len(given) < len(pairs):
        raise bad_request("parameter-invalid", "A parameter is given twice.")
    return given


@lru_cache(maxsize=64)
def preferred_wait_seconds(prefer: str) -> int | None:
    """``wait`` of a ``Prefer`` header (RFC 7240), or None. Being a preference, too long a wait is shortened."""
    found = _PREFER_WAIT.search(prefer)
    return None if found is None else min(int(found.group(1)), MAX_WAIT_SECONDS)


def _since(text: str, names: StoreNames) -> Since:
    if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) < OPEN_SEQ:
        return int(text)
    if (stamp := parse_stamp(text)) is not None:
        return stamp
    if _TIME.fullmatch(text):
        # A '+' that a client forgot to escape arrives as a space.
        moment = text[:19].replace(" ", "T") + text[19:].replace(" ", "+")
        try:
            return datetime.fromisoformat(moment.upper())
        except ValueError:
            pass
    try:
        return decode_cursor(text, names.cursor_key, names.epoch)
    except TokenError:
        raise bad_request("cursor-malformed", "This is no cursor, publication number or RFC 3339 time.") from None


def _page(text: str, names: StoreNames) -> PageToken:
    try:
        return decode_page(text, names.cursor_key, names.epoch)
    except TokenError:
        raise bad_request("cursor-malformed", "This is no page of ours.") from None


def _objects(text: str, names: StoreNames) -> tuple[str, ...]:
    asked = text.split(",")
    for name in asked:
        if name not in names.objects:
            known = ", ".join(names.objects)
            raise bad_request("object-unknown", f"There is no object {name[:40]!r}; there are {known}.")
    return tuple(name for name in names.objects if name in asked)


def _flag(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false")
    if value not in ("true", "false"):
        raise bad_request("parameter-invalid", f"The parameter {name!r} is true or false.")
    return value == "true"


def _number(given: dict[str, str], name: str, default: int, low: int, high: int, code: str) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise bad_request(code, f"The parameter {name!r} is a whole number from {low} to {high}.")
    return int(text)
