"""A token bucket: how often something costly may begin."""

from __future__ import annotations

import time


class TokenBucket:
    """Admits ``per_second`` on average, and what ``burst_seconds`` bring together at once."""

    __slots__ = ("_capacity", "_filled_at", "_per_second", "_tokens")

    def __init__(self, per_second: int, *, burst_seconds: int = 2) -> None:
        self._per_second = per_second
        self._tokens = self._capacity = float(burst_seconds * per_second)
        self._filled_at = time.monotonic()

    @property
    def empty(self) -> bool:
        """Whether nothing would be admitted now."""
        self._fill()
        return self._tokens < 1

    def admits(self) -> bool:
        """Whether one more may begin; if so it counts."""
        if self.empty:
            return False
        self._tokens -= 1
        return True

    def _fill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
