"""Pages that will most likely be asked for next, fetched meanwhile in other sessions.

Whatever the order in which pages are fetched, :func:`~orchestration.crm.paging.walk` accepts one only where it joins up
with the page before. So a guess may be wrong, or a row vanish between two of them: the page is then asked for again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic

from orchestration.crm.paging import OVERLAP_ROWS, S

# One that is being fetched and one that waits, so that no session idles until the page before is taken.
_PAGES_A_SESSION = 2


class ReadAhead(Generic[S]):
    """``fetch(row, size)``, done by ``executor``, whose threads are ``sessions``, for some pages at a time.

    ``expected_pages`` may be fetched from the start, more only once there is a second: most answers have one page.
    However many are expected, no more are fetched past the last, or past one that fails, than there are other sessions.
    """

    def __init__(
        self, fetch: Callable[[int, int], S], executor: Executor, sessions: int, expected_pages: int = 1
    ) -> None:
        self._fetch = fetch
        self._executor = executor
        self._most_pages = sessions * _PAGES_A_SESSION
        self._ahead_pages = min(expected_pages, self._most_pages) - 1
        self._coming: dict[tuple[int, int], Future[S | None]] = {}
        self._stop_row = sys.maxsize

    def __call__(self, row: int, size: int, more_pages: int) -> S:
        """The page of ``size`` rows from ``row`` (0-based) on; up to ``more_pages`` after it may be fetched already.

        Raises what ``fetch`` raises for this page.
        """
        future = self._coming.pop((row, size), None)
        if future is None:
            # Nobody expected this: what is coming follows something else.
            self.forget()
            future = self._executor.submit(self._fetch_unless_past_end, row, size)
        step = max(size - OVERLAP_ROWS, 1)
        for number in range(1, 1 + min(self._ahead_pages, more_pages)):
            key = row + number * step, size
            if key not in self._coming:
                self._coming[key] = self._executor.submit(self._fetch_unless_past_end, *key)
        # After a failure, the next one is tried alone.
        self._ahead_pages = 0
        page = future.result()
        if page is None:
            # There may be something after all.
            self.forget()
            page = self._fetch(row, size)
        self._ahead_pages = self._most_pages - 1
        if page.last:
            self.forget()
        return page

    def forget(self) -> None:
        """Nothing of what is coming is wanted any more."""
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()
        self._stop_row = sys.maxsize

    def _fetch_unless_past_end(self, row: int, size: int) -> S | None:
        """None where a page before was the last meanwhile, or failed."""
        if row > self._stop_row:
            return None
        page = None
        try:
            page = self._fetch(row, size)
            return page
        finally:
            if page is None or page.last:
                self._stop_row = min(self._stop_row, row)
