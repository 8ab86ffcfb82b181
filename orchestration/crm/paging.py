"""Stateless paging that loses no row.

The CRM runs a stateless query anew for each page (only a login session pages over a snapshot). When a row before the
current position vanishes between two requests, the rest moves up, and the row that now stands before the next page is
never sent. So each page is asked from the last row of the page before, and must hold that row. If it does not, the
reader steps back, ever further, until a page holds any row seen before, or starts at row 0, which needs no such proof:
under one total, unchanging order (the Id) whatever follows a seen row and is not on its page is on a later one. Rows
that come twice are told by their keys; that seen rows come in another order than before shows that there is no such
order, and is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from math import ceil
from typing import Protocol, TypeVar

from orchestration.crm.errors import CrmAnswerError

_MAX_RESTARTS = 20
# What two pages have in common.
OVERLAP_ROWS = 1


def pages_of(rows: int, page_size_rows: int) -> int:
    """How many pages that many rows come in, one at least."""
    return max(1, ceil((rows - OVERLAP_ROWS) / (page_size_rows - OVERLAP_ROWS)))


class Slice(Protocol):
    """A page as far as paging is concerned; ``received`` counts rows, also those without a key."""

    @property
    def received(self) -> int: ...
    @property
    def last(self) -> bool: ...


S = TypeVar("S", bound=Slice)


def walk(
    fetch: Callable[[int], S],
    keys: Callable[[S], Sequence[str]],
    page_size_rows: int,
    total_order: bool = True,
    start_row: int = 0,
    seen_before: Iterable[str] = (),
) -> Iterator[tuple[S, set[str]]]:
    """All pages from row 0 to the last, each with the keys on it that were on no page before.

    ``fetch`` reads the page that starts at a row. Raises :class:`CrmAnswerError` if the order is not stable; without a
    ``total_order``, only if the pages do not join up. A reading that was interrupted goes on from ``start_row`` if the
    page there holds a row ``seen_before``, else steps back like any other.
    """
    seen = _Seen(total_order, seen_before)
    start, back, restarts = start_row, 0, 0
    resumed = start_row > 0
    while True:
        page = fetch(start)
        found = keys(page)
        if start and not seen.joins(found, any_row=resumed or back > 0):
            back = back * 2 or page_size_rows
            start = max(0, start - back)
            restarts += start == 0
            if restarts > _MAX_RESTARTS:
                raise CrmAnswerError("the pages of an answer do not join up: the CRM does not keep one order")
            continue
        back, resumed = 0, False
        yield page, seen.add(found)
        if page.last:
            return
        start += max(page.received - OVERLAP_ROWS, 1)


class _Seen:
    def __init__(self, total_order: bool, seen_before: Iterable[str]) -> None:
        self._total_order = total_order
        # The place of each key in the order; None for one that appeared among rows already passed.
        self._places: dict[str, int | None] = dict.fromkeys(seen_before)
        self._furthest: str | None = None
        self._previous: str | None = None

    def joins(self, found: Sequence[str], any_row: bool) -> bool:
        """Whether nothing can lie between the rows seen so far and this page; ``any_row`` of them may show it."""
        return self._previous in found or (any_row and any(key in self._places for key in found))

    def add(self, found: Sequence[str]) -> set[str]:
        """Take a page in; returns the keys that are new."""
        places = [place for key in found if (place := self._places.get(key)) is not None]
        if self._total_order and any(after < before for before, after in pairwise(places)):
            raise CrmAnswerError("seen rows come in another order: the CRM does not keep one order")
        fresh = {key for key in found if key not in self._places}
        ahead = not self._places
        for key in found:
            if key in fresh and key not in self._places:
                self._places[key] = len(self._places) if ahead else None
                self._furthest = key if ahead else self._furthest
            elif key == self._furthest:
                ahead = True
        self._previous = found[-1] if found else None
        return fresh
