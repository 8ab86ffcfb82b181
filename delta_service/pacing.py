"""A token bucket: how often something costly may begin."""

from __future__ import annotations

import time


class TokenBucket:
    """Admits ``per_second`` on average and twice that at once."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._tokens = float(2 * per_second)
        self._filled_at = time.monotonic()

    def admits(self) -> bool:
        now = time.monotonic()
        self._tokens = min(2.0 * self._per_second, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
