"""Questions that were asked before with another cursor, as each device does after each publication.

The bytes of a request without those of its cursor say who asks what; the cursor says from where on. Where the
difference from there on is in memory and somebody was told it, neither the application nor the store is needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from delta_service.answers import Answer, Wire
from delta_service.audit import Delivery
from delta_service.auth import Authenticator, Claims
from delta_service.cursor import Anchor, Cursor, TokenError, decode_cursor
from delta_service.problems import ProblemError
from delta_service.query import DeltaQuery
from delta_service.question import Question
from delta_service.repeats import MAX_REQUEST_BYTES, known_again
from delta_service.scope import Scope, asked_scope
from delta_service.scoped_request import ScopedRequest
from delta_service.sharing import OfState, SharedResults
from delta_service.source import ViewName, ViewSource, view_name
from delta_service.store.views import StoreState
from delta_service.watch import StoreWatch

MAX_BYTES = 32 * 2**20
ASKED_BYTES = 4_000
TOLD_OVERHEAD_BYTES = 1_000
KNOWN_CURSORS = 10_000

_CURSOR = re.compile(rb"[?&]since=([\w.-]+)")


@dataclass(slots=True)
class _Asked:
    """Who asks what. Outlives the states of the store; the scope is that of one of them."""

    authorization: bytes
    territory: str | None
    form: bytes
    """Names what the answer depends on besides the scope, the cursor and the state."""
    state: StoreState
    scope: Scope
    view: ViewName
    """The scope's newest view."""

    def bring_to(self, state: StoreState, claims: Claims) -> None:
        """Raises ProblemError."""
        self.scope, self.state = asked_scope(claims, self.territory, state), state
        self.view = view_name(self.scope, state.published_seq, state)


class _Told(NamedTuple):
    wire: Wire
    delivery: Delivery


class FollowUps:
    """Answers with something new, of one state of the store."""

    def __init__(self, authenticator: Authenticator, watch: StoreWatch, source: ViewSource) -> None:
        self._authenticator = authenticator
        self._watch = watch
        self._source = source
        self._asked: SharedResults[_Asked] = SharedResults(MAX_BYTES, lambda _: ASKED_BYTES)
        self._told = OfState(_nothing_told)

    def find(self, content: bytes) -> Wire | None:
        """The answer to a request, which is recorded as given. None: ask the application."""
        state = self._watch.state
        if state is None or state is not self._told.state:
            return None
        cursor = _CURSOR.search(content, 0, MAX_REQUEST_BYTES)
        if cursor is None:
            return None
        asked = self._asked.kept(_but_cursor(content, cursor))
        if asked is None or (claims := self._authenticator.remembered(asked.authorization)) is None:
            return None
        anchor = _anchor(cursor[1], state.cursor_key, state.epoch)
        if anchor is None or not state.horizon_seq <= anchor.seq <= state.published_seq:
            return None
        if asked.state is not state:
            try:
                asked.bring_to(state, claims)
            except ProblemError:
                return None
        recent = self._source.recent_at_hand(asked.view) if anchor.scope == asked.scope else None
        told = self._told.results.kept((asked.scope, asked.form, recent.start_of(anchor.seq))) if recent else None
        if told is None or not claims.caller.admits():
            return None
        told.delivery.record((anchor,), None)
        return told.wire

    def keep(
        self,
        request: ScopedRequest,
        query: DeltaQuery,
        coding: str | None,
        question: Question,
        answer: Answer,
        delivery: Delivery,
        state: StoreState,
    ) -> None:
        """Answer such a request so, whichever cursor it has that this is the answer to.

        ``question`` is by the name that all with this answer share; ``state`` is the store's.
        """
        known = known_again(request)
        if known is None or answer.large or request.if_none_match is not None or request.prefer is not None:
            return
        cursor = _CURSOR.search(known.content)
        if cursor is None or request.request_id.encode() in known.content:
            return
        anchor = _anchor(cursor[1], state.cursor_key, state.epoch)
        # What was found must be the cursor, and all of it.
        if anchor is None or query.since != Cursor(state.epoch, (anchor,)):
            return
        request_name = _but_cursor(known.content, cursor)
        asked = self._asked.kept(request_name)
        if asked is None:
            form = repr((replace(query, since=None), coding)).encode()
            view = view_name(question.scope, state.published_seq, state)
            asked = _Asked(known.authorization, request.territory, form, state, question.scope, view)
            self._asked.keep(request_name, asked)
        # The same bytes have the same form in each state of the store; the scope they are about may be another one.
        told, told_name = self._told.at(state), (question.scope, asked.form, question.anchors[0].seq)
        if told.kept(told_name) is None and (wire := answer.wire) is not None:
            told.keep(told_name, _Told(wire, delivery))


def _nothing_told() -> SharedResults[_Told]:
    return SharedResults(MAX_BYTES, lambda told: told.wire.size_bytes + TOLD_OVERHEAD_BYTES)


def _but_cursor(content: bytes, cursor: re.Match[bytes]) -> tuple[int, bytes]:
    """What else a request says, and where the cursor is missing from it."""
    begin, end = cursor.span(1)
    return begin, content[:begin] + content[end:]


# Devices of one territory have the same cursor, and to verify it takes as long as all else together.
@lru_cache(maxsize=KNOWN_CURSORS)
def _anchor(text: bytes, cursor_key: bytes, epoch: str) -> Anchor | None:
    """What a cursor of this history names, where it is one view of all objects."""
    try:
        cursor = decode_cursor(text.decode(), cursor_key, epoch)
    except TokenError:
        return None
    if cursor.epoch != epoch or len(cursor.anchors) != 1:
        return None
    (anchor,) = cursor.anchors
    return anchor if anchor.objects is None else None
