"""Questions that were asked before, by whomever: first syncs, and follow-ups, which have a cursor each.

Devices of one kind send the same bytes but for the token and the cursor. The other bytes say what is asked; the token
says whether it may be, and about which scope; the cursor says from where on. Where somebody was told the answer, and
the store is as it was, neither the application nor the store is needed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from delta_service.answers import Answer, Wire
from delta_service.audit import Delivery
from delta_service.auth import Authenticator, Claims
from delta_service.cursor import Anchor, Cursor, TokenError, decode_cursor
from delta_service.outflow import Outflow
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
OVERHEAD_BYTES = 1_000
KNOWN_SCOPES = 20_000
KNOWN_CURSORS = 10_000

_CURSOR = re.compile(rb"[?&]since=([\w.-]+)")
_TOKEN = re.compile(rb"\r\n[Aa]uthorization: ([^\r]+)")

_Rest = tuple[int, int, bytes]
"""A request without cursor and token, and where these are missing from it."""


class _Form(NamedTuple):
    """What is asked, whoever asks and whatever the device holds."""

    territory: str | None
    name: bytes
    """Of all that the answer depends on besides the scope, the cursor and the state."""
    size_bytes: int
    """Of what is kept."""


class _Asked(NamedTuple):
    """What it is asked about, in one state of the store."""

    scope: Scope
    view: ViewName
    """The scope's newest view."""


class _Told(NamedTuple):
    wire: Wire
    delivery: Delivery


class AskedBefore:
    """Answers with something new, of one state of the store."""

    def __init__(self, authenticator: Authenticator, watch: StoreWatch, source: ViewSource, outflow: Outflow) -> None:
        self._authenticator = authenticator
        self._watch = watch
        self._source = source
        self._outflow = outflow
        self._forms: SharedResults[_Form] = SharedResults(MAX_BYTES, lambda form: form.size_bytes)
        self._asked = OfState(_nothing_asked)
        self._told = OfState(_nothing_told)

    def find(self, content: bytes) -> Wire | None:
        """The answer to a request, which is recorded as given. None: ask the application."""
        state = self._watch.state
        if state is None or state is not self._told.state or (parts := _taken_apart(content)) is None:
            return None
        rest, cursor, authorization = parts
        form = self._forms.kept(rest)
        if form is None or (claims := self._authenticator.remembered(authorization)) is None:
            return None
        asked = self._asked.at(state).kept((claims.territories, form.territory)) or self._ask(form, claims, state)
        if asked is None:
            return None
        anchors: tuple[Anchor, ...] = ()
        start_seq = None
        if cursor is not None:
            anchor = _anchor(cursor, state.cursor_key, state.epoch)
            if anchor is None or not state.horizon_seq <= anchor.seq <= state.published_seq:
                return None
            recent = self._source.recent_at_hand(asked.view) if anchor.scope == asked.scope else None
            if recent is None or (start_seq := recent.start_of(anchor.seq)) is None:
                return None
            anchors = (anchor,)
        told = self._told.results.kept((asked.scope, form.name, start_seq))
        if told is None or not self._outflow.has_room(told.wire.body) or not claims.caller.admits():
            return None
        told.delivery.record(anchors, None)
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
        """Answer such a request so, whoever sends it, and whichever cursor it has that this is the answer to.

        ``question`` is by the name that all with this answer share; ``state`` is the store's.
        """
        known = known_again(request)
        if known is None or state is not self._watch.state:
            return
        if request.if_none_match is not None or request.prefer is not None:
            return
        parts = _taken_apart(known.content)
        if parts is None or request.request_id.encode() in known.content:
            return
        rest, cursor, authorization = parts
        # What was cut out must be the token, which is nowhere else, and the cursor, where it counts.
        if authorization != known.authorization or authorization in rest[-1]:
            return
        if cursor is None:
            if query.since is not None:
                return
        else:
            anchor = _anchor(cursor, state.cursor_key, state.epoch)
            line_end = known.content.index(b"\r\n")
            if anchor is None or query.since != Cursor(state.epoch, (anchor,)) or rest[0] > line_end:
                return
        name = repr((replace(query, since=None), coding)).encode()
        size_bytes = len(rest[-1]) + len(name) + OVERHEAD_BYTES
        self._forms.keep(rest, _Form(request.territory, name, size_bytes))
        # The same bytes have the same form in each state of the store; the scope they are about may be another one.
        told, start_seq = self._told.at(state), question.anchors[0].seq if question.anchors else None
        told_name = question.scope, name, start_seq
        if told.kept(told_name) is None and (wire := answer.wire) is not None:
            told.keep(told_name, _Told(wire, delivery))

    def _ask(self, form: _Form, claims: Claims, state: StoreState) -> _Asked | None:
        """None where it may not be asked."""
        try:
            scope = asked_scope(claims, form.territory, state)
        except ProblemError:
            return None
        asked = _Asked(scope, view_name(scope, state.published_seq, state))
        self._asked.at(state).keep((claims.territories, form.territory), asked)
        return asked


def _nothing_asked() -> SharedResults[_Asked]:
    return SharedResults(KNOWN_SCOPES, lambda _: 1)


def _nothing_told() -> SharedResults[_Told]:
    return SharedResults(MAX_BYTES, lambda told: told.wire.size_bytes + OVERHEAD_BYTES)


def _taken_apart(content: bytes) -> tuple[_Rest, bytes | None, bytes] | None:
    """The rest, cursor and token of a request. None where there is no token, or too much."""
    if len(content) > MAX_REQUEST_BYTES:
        return None
    cursor = _CURSOR.search(content)
    begin, end = cursor.span(1) if cursor else (0, 0)
    token = _TOKEN.search(content, end)
    if token is None:
        return None
    token_begin, token_end = token.span(1)
    rest = content[:begin] + content[end:token_begin] + content[token_end:]
    return (begin, token_begin - end, rest), cursor[1] if cursor else None, token[1]


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
