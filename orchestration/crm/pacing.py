"""Keeping to the CRM's pace: a gap between the requests of a session, and a count of operations."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from orchestration.crm.errors import CrmBudgetExhausted

# The CRM faults requests of one session that come less than 50 ms apart; the rest is for jitter on the way, and costs
# nothing where an answer takes that long anyway.
GAP_SECONDS = 0.056


class Pacer:
    """Spaces the requests of one session. Not thread-safe: a session is used by one thread at a time."""

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        gap_seconds: float = GAP_SECONDS,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._gap = gap_seconds
        self._next = float("-inf")

    def wait(self) -> None:
        """Sleep until this session may send again."""
        ahead = self._next - self._clock()
        if ahead > 0:
            self._sleep(ahead)
        self._next = self._clock() + self._gap


class Meter:
    """Counts what the CRM counts, for all sessions of a client. Thread-safe.

    One operation for a query, and one for each parent row returned for each child list asked for.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._spent = 0
        self._sent = 0
        self._faults: Counter[str] = Counter()

    def sending(self, operations: int) -> None:
        """Account for a request about to be sent. Raises :class:`CrmBudgetExhausted` instead of overspending."""
        with self._lock:
            if operations and self._budget is not None and self._spent + operations > self._budget:
                raise CrmBudgetExhausted(
                    f"the operations budget is spent ({self._spent} of {self._budget}): raise CRMOD_OPERATIONS_BUDGET, "
                    "or wait until the CRM's 24 hour allotment has room again"
                )
            self._spent += operations
            self._sent += 1

    def add(self, operations: int) -> None:
        """Account for child rows returned (negative: for a request that the CRM's front end turned away)."""
        with self._lock:
            self._spent += operations

    def fault(self, code: str) -> None:
        with self._lock:
            self._faults[code] += 1

    @property
    def operations_spent(self) -> int:
        return self._spent

    @property
    def requests_sent(self) -> int:
        return self._sent

    @property
    def faults(self) -> dict[str, int]:
        with self._lock:
            return dict(self._faults)
