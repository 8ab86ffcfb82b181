"""Polls that are repeated to the byte, which most are: a device with nothing new asks the same again and again.

The same bytes are the same question: what an answer depends on besides is the store's state, the token's validity and
the caller's limit, which are looked at each time.
"""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter

from delta_service.answers import Answer, Wire
from delta_service.auth import Authenticator
from delta_service.scoped_request import ScopedRequest
from delta_service.sharing import OfState, SharedResults
from delta_service.store.views import StoreState
from delta_service.watch import StoreWatch

MAX_REQUEST_BYTES = 8_192
MAX_BYTES = 32 * 2**20
ENTRY_OVERHEAD_BYTES = 1_000


class Known(NamedTuple):
    """A request that can be known again by its bytes."""

    content: bytes
    authorization: bytes


class _Repeated(NamedTuple):
    request: Known
    wire: Wire
    counter: Counter


class Repeats:
    """Answers of one state of the store, by the bytes of their requests."""

    def __init__(self, authenticator: Authenticator, watch: StoreWatch) -> None:
        self._authenticator = authenticator
        self._watch = watch
        self._kept = OfState(_nothing_kept)

    def find(self, content: bytes) -> Wire | None:
        """The answer to a request that came before; it is counted as given. None: ask elsewhere."""
        repeated = self._kept.results.kept(content)
        if repeated is None or self._watch.state is not self._kept.state:
            return None
        claims = self._authenticator.remembered(repeated.request.authorization)
        if claims is None or not claims.caller.admits():
            return None
        repeated.counter.inc()
        return repeated.wire

    def keep(self, request: ScopedRequest, answer: Answer, counter: Counter, state: StoreState) -> None:
        """Answer such a request so, while there is room and ``state`` is the store's."""
        known = known_again(request)
        if known is not None and (wire := answer.wire) is not None:
            self._kept.at(state).keep(known.content, _Repeated(known, wire, counter))


def known_again(request: ScopedRequest) -> Known | None:
    """None where the same bytes may be another question, or are too many."""
    content, authorization = request.request_bytes, request.authorization
    if content is None or authorization is None or len(content) > MAX_REQUEST_BYTES:
        return None
    return Known(content, authorization)


def _nothing_kept() -> SharedResults[_Repeated]:
    return SharedResults(MAX_BYTES, _size_bytes)


def _size_bytes(kept: _Repeated) -> int:
    return len(kept.request.content) + kept.wire.size_bytes + ENTRY_OVERHEAD_BYTES
