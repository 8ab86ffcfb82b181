"""Polls that are repeated to the byte, which most are: a device with nothing new asks the same again and again.

The same bytes are the same question: what an answer depends on besides is the store's state, the token's validity and
the caller's limit, which are looked at each time.
"""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter

from delta_service.answers import Answer
from delta_service.auth import Authenticator
from delta_service.sharing import SharedResults
from delta_service.store.views import StoreState
from delta_service.watch import StoreWatch

MAX_REQUEST_BYTES = 8_192
MAX_BYTES = 32 * 2**20
ENTRY_OVERHEAD_BYTES = 1_000

_STATUS_LINES = {200: b"HTTP/1.1 200 OK\r\n", 304: b"HTTP/1.1 304 Not Modified\r\n"}


class Repeated(NamedTuple):
    """An answer as it goes over the wire, but for its date."""

    request: bytes
    status_line: bytes
    rest: bytes
    authorization: bytes
    counter: Counter


class Repeats:
    """Answers of one state of the store, by the bytes of their requests."""

    def __init__(self, authenticator: Authenticator, watch: StoreWatch) -> None:
        self._authenticator = authenticator
        self._watch = watch
        self._state: StoreState | None = None
        self._kept = _nothing_kept()

    def find(self, request: bytes) -> Repeated | None:
        """The answer to a request that came before; it is counted as given. None: ask the application."""
        repeated = self._kept.kept(request)
        if repeated is None or self._watch.state is not self._state:
            return None
        claims = self._authenticator.remembered(repeated.authorization)
        if claims is None or not claims.caller.admits():
            return None
        repeated.counter.inc()
        return repeated

    def keep(
        self, request: bytes | None, authorization: bytes | None, answer: Answer, counter: Counter, state: StoreState
    ) -> None:
        """Answer such a request so, while there is room and ``state`` is the store's."""
        if request is None or authorization is None or len(request) > MAX_REQUEST_BYTES:
            return
        if state is not self._state:
            self._kept, self._state = _nothing_kept(), state
        self._kept.keep(request, Repeated(request, _STATUS_LINES[answer.status], _rest(answer), authorization, counter))


def _nothing_kept() -> SharedResults[Repeated]:
    return SharedResults(MAX_BYTES, lambda kept: len(kept.request) + len(kept.rest) + ENTRY_OVERHEAD_BYTES)


def _rest(answer: Answer) -> bytes:
    lines = [b"%s: %s\r\n" % header for header in answer.sized_headers]
    return b"%s\r\n%s" % (b"".join(lines), answer.body)
