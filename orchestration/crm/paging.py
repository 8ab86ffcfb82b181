"""Stateless paging that loses no row.

The CRM runs a stateless query anew for each page (only a login session pages over a snapshot). When a row before the
current position vanishes between two requests, the rest moves up, and the row that now stands before the next page is
never sent. So each page is asked from the last row of the page before, and must hold a row already seen: under one
total, unchanging order (the Id), whatever follows a seen row and is not on this page is on a later one. If no seen row
is there, the reader steps back, ever further, at last to row 0, which needs no such proof. Rows that come twice are
told by their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from orchestration.crm.errors import CrmAnswerError

_MAX_RESTARTS = 3


class Slice(Protocol):
    """A page as far as paging is concerned; ``received`` counts rows, also those without a key."""

    @property
    def received(self) -> int: ...
    @property
    def last(self) -> bool: ...


S = TypeVar("S", bound=Slice)


def walk(
    fetch: Callable[[int], S], keys: Callable[[S], Sequence[str]], page_size_rows: int
) -> Iterator[tuple[S, set[str]]]:
    """All pages from row 0 to the last, each with the keys on it that were on no page before.

    ``fetch`` reads the page that starts at a row. Raises :class:`CrmAnswerError` if pages never join up, which means
    that the order is not stable.
    """
    seen: set[str] = set()
    start, step, restarts = 0, page_size_rows, 0
    while True:
        page = fetch(start)
        found = keys(page)
        if start and seen.isdisjoint(found):
            start, step = max(0, start - step), step * 2
            if start == 0:
                restarts += 1
                if restarts > _MAX_RESTARTS:
                    raise CrmAnswerError("the pages of an answer do not join up: the CRM does not keep one order")
            continue
        step = page_size_rows
        fresh = set(found) - seen
        seen |= fresh
        yield page, fresh
        if page.last:
            return
        start += max(page.received - 1, 1)
