"""The requests that came in, the newest kept: so that a test, or a person, sees what a client really did."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from lxml import etree
from starlette.requests import Request

from crm_simulator.soap import Call, children, local

_KEPT = 2_000


@dataclass
class Entry:
    """One request. ``failure`` is the fault's code or the kind of mischief it was answered with, or blank."""

    number: int
    operation: str = ""
    page_size: int | None = None
    start_row: int | None = None
    counted: bool = False
    searchspec: str = ""
    cookie: bool = False
    gzip: bool = False
    failure: str = ""

    def note(self, call: Call) -> None:
        """Add what is asked for."""
        self.operation = call.operation
        listed = next((e for e in children(call.input) if local(e).startswith("ListOf")), None)
        if listed is None:
            return
        row = next(iter(children(listed)), None)
        self.page_size, self.start_row = _number(listed, "pagesize"), _number(listed, "startrownum")
        self.counted = listed.get("recordcountneeded") == "true"
        self.searchspec = row.get("searchspec", "") if row is not None else ""


class RequestLog:
    """In order of arrival, numbered from 1."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._count = 0

    def begin(self, request: Request, cookie: bool) -> Entry:
        """The entry of a request that is about to be answered."""
        self._count += 1
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        command = request.query_params.get("command", "")
        entry = Entry(self._count, operation=command, cookie=cookie, gzip=zipped)
        self._entries.append(entry)
        return entry

    def after(self, number: int) -> list[dict[str, Any]]:
        """The kept entries with a higher number."""
        return [asdict(entry) for entry in self._entries if entry.number > number]


def _number(element: etree._Element, name: str) -> int | None:
    text = element.get(name, "")
    return int(text) if text.isdecimal() else None
