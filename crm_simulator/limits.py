"""The limits of the pod and the company's allotments, with the meter of what was spent of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from crm_simulator.faults import allotment_reached

_HOURS = 24


@dataclass
class Limits:
    """None is no limit. Changed in place while the server runs."""

    operations: int | None = None
    concurrent_requests: int | None = None
    min_interval_ms: int = 50
    idle_seconds: int = 600
    login_sessions: int = 10
    request_kilobytes: int = 28_800


class Meter:
    """Operations by the hour: the allotment counts the hour that is running and the 23 before it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests_under_way = 0
        self._by_hour: Counter[datetime] = Counter()

    def spend(self, now: datetime, operations: int) -> None:
        self._by_hour[_hour(now)] += operations

    def used(self, now: datetime) -> int:
        """Operations in the allotment's window."""
        first = _hour(now) - timedelta(hours=_HOURS - 1)
        for hour in [hour for hour in self._by_hour if hour < first]:
            del self._by_hour[hour]
        return self._by_hour.total()

    def check_operations(self, now: datetime) -> None:
        """Raises a :class:`faults.SoapFault` when the operations allotment is used up."""
        value = self.limits.operations
        if value is not None and self.used(now) >= value:
            raise allotment_reached("Operations", value)

    def check_concurrency(self) -> None:
        """Raises a :class:`faults.SoapFault` when more requests are under way than the company may have."""
        value = self.limits.concurrent_requests
        if value is not None and self.requests_under_way > value:
            raise allotment_reached("Concurrent Request", value)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
