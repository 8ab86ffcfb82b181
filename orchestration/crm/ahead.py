"""Pages that will most likely be asked for next, fetched meanwhile in other sessions.

Whatever the order in which pages are fetched, :func:`~orchestration.crm.paging.walk` accepts one only where it joins up
with the page before. So a guess may be wrong, or a row vanish between two of them: the page is then asked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic

from orchestration.crm.paging import S


class ReadAhead(Generic[S]):
    """``fetch(row, size)``, done by ``executor`` for up to ``most_pages`` pages at a time."""

    def __init__(self, fetch: Callable[[int, int], S], executor: Executor, most_pages: int, overlap_rows: int) -> None:
        self._fetch = fetch
        self._executor = executor
        self._most_pages = most_pages
        self._overlap_rows = overlap_rows
        self._coming: dict[tuple[int, int], Future[S]] = {}
        self._served_pages = 0

    def __call__(self, row: int, size: int, more_pages: int) -> S:
        """The page of ``size`` rows from ``row`` (0-based) on; up to ``more_pages`` after it may be fetched already.

        Raises what ``fetch`` raises for this page.
        """
        future = self._coming.pop((row, size), None)
        if future is None:
            # Nobody expected this: what is coming follows something else.
            self.forget()
            future = self._executor.submit(self._fetch, row, size)
        step = max(size - self._overlap_rows, 1)
        # Most answers have one page. That there is a second shows that there may be many.
        ahead_pages = min(self._most_pages - 1, more_pages) if self._served_pages else 0
        for number in range(1, 1 + ahead_pages):
            key = row + number * step, size
            if key not in self._coming:
                self._coming[key] = self._executor.submit(self._fetch, *key)
        page = future.result()
        self._served_pages += 1
        if page.last:
            self.forget()
        return page

    def forget(self) -> None:
        """Nothing of what is coming is wanted any more."""
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()
