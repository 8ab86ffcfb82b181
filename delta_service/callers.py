"""What one caller may take, so that the others are served. Each process counts for itself.

A caller is the subject of a token. An address is none: a carrier's or a company's may have thousands of devices behind
it. It counts only while it brings tokens that are refused, each of which costs a verification.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from weakref import WeakValueDictionary

from delta_service.pacing import TokenBucket
from delta_service.problems import rate_limited
from delta_service.settings import ServiceSettings

BURST_SECONDS = 10
REMEMBERED_ADDRESSES = 10_000


class Caller:
    """Lives as long as a token of its subject is remembered or a request of it is in progress."""

    __slots__ = ("__weakref__", "_max_waiting", "_requests", "waiting")

    def __init__(self, requests_per_second: int | None, max_waiting: int | None) -> None:
        """None: without limit."""
        self._requests: TokenBucket | None = None
        if requests_per_second is not None:
            self._requests = TokenBucket(requests_per_second, burst_seconds=BURST_SECONDS)
        self._max_waiting = max_waiting
        self.waiting = 0
        """Long polls and listeners of this caller."""

    def admits(self) -> bool:
        """Whether one more request may be answered; if so it counts."""
        return self._requests is None or self._requests.admits()

    def admit(self) -> None:
        """Count a request. Raises the 429 problem."""
        if not self.admits():
            raise rate_limited("This token asks too often. Ask again later.")

    def admit_waiting(self) -> None:
        """Raises the 429 problem where one more may not wait."""
        if self._max_waiting is not None and self.waiting >= self._max_waiting:
            raise rate_limited("This token waits in too many requests at once. Ask again later.")


UNLIMITED = Caller(None, None)


class Callers:
    """Callers by subject."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._limits = settings.caller_requests_per_second, settings.caller_waits
        self._known: WeakValueDictionary[str, Caller] = WeakValueDictionary()

    def of(self, subject: str | None) -> Caller:
        """A token without a subject stands for a whole fleet, whose size only its issuer knows: it has no limit."""
        if subject is None:
            return UNLIMITED
        caller = self._known.get(subject)
        if caller is None:
            caller = self._known[subject] = Caller(*self._limits)
        return caller


class Refusals:
    """Addresses that brought tokens which were refused."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._per_second = settings.refusals_per_second
        self._known: OrderedDict[str, TokenBucket] = OrderedDict()

    def admit(self, client: tuple[str, int] | None) -> None:
        """Before a token is verified. Raises the 429 problem where too many from there were refused."""
        bucket = self._known.get(_place(client))
        if bucket is not None and bucket.empty:
            raise rate_limited("Too many invalid tokens come from this address. Ask again later.")

    def note(self, client: tuple[str, int] | None) -> None:
        """A token from there was refused."""
        place = _place(client)
        bucket = self._known.get(place)
        if bucket is None:
            bucket = self._known[place] = TokenBucket(self._per_second, burst_seconds=BURST_SECONDS)
            if len(self._known) > REMEMBERED_ADDRESSES:
                self._known.popitem(last=False)
        self._known.move_to_end(place)
        bucket.admits()


def _place(client: tuple[str, int] | None) -> str:
    """The address; of an IPv6 one the half that a caller cannot choose."""
    host = client[0] if client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(int(address) >> 64)
