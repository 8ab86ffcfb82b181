"""``GET /v1/events``: a small server-sent event whenever a publication touches what the caller may see.

So does one after which other rows of it are held than before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple

import orjson

from delta_service import metrics
from delta_service.answers import Answer
from delta_service.auth import Authenticator
from delta_service.cursor import TokenError, decode_cursor
from delta_service.problems import ProblemError
from delta_service.query import given_parameters
from delta_service.question import question_of_view
from delta_service.scope import Scope, granted_scope, news_seq
from delta_service.scoped_request import ScopedRequest
from delta_service.source import ViewSource
from delta_service.store.views import StoreState
from delta_service.sync_headers import held_members
from delta_service.watch import StoreWatch

HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"private, no-store"),
    (b"vary", b"authorization"),
    # Proxies that buffer would keep events back.
    (b"x-accel-buffering", b"no"),
]
# How long a browser waits before it comes back, and how often a silent connection shows that it is alive.
RECONNECT_MS = 5_000
HEARTBEAT_SECONDS = 25
HEARTBEAT = b":\n\n"


class Seen(NamedTuple):
    """What a listener knows."""

    epoch: str
    scope: Scope
    seq: int


class EventRoute:
    def __init__(self, authenticator: Authenticator, watch: StoreWatch, source: ViewSource) -> None:
        self._authenticator = authenticator
        self._watch = watch
        self._source = source
        self._events: dict[Scope, bytes] = {}
        self._events_state: StoreState | None = None

    async def answer(self, request: ScopedRequest) -> Answer:
        """A stream of events, one for each look at the store that finds a publication touching the scope.

        The first says where the scope is now, unless ``Last-Event-ID`` shows that the caller knows: nothing that is
        published between a device's delta and its listening is missed.
        """
        given_parameters(request.query_string, ())
        claims = await self._authenticator.authenticate(request.authorization, request.client)
        state = self._watch.current()
        self._watch.admit_waiting(claims.caller)
        seen = None if request.last_event_id is None else _seen(request.last_event_id, state)
        metrics.EVENTS.inc()
        return Answer(200, HEADERS, stream=self._stream(request, seen))

    async def _stream(self, request: ScopedRequest, seen: Seen | None) -> AsyncGenerator[bytes, None]:
        yield b"retry: %d\n\n" % RECONNECT_MS
        while True:
            try:
                # A token may end, and its territories may be renamed, while somebody listens.
                claims = await self._authenticator.authenticate(request.authorization, request.client)
                state = self._watch.current()
                scope = granted_scope(claims, state)
                if seen is None or not _knows(seen, scope, state):
                    piece = await self._event(scope, state)
                    seen = Seen(state.epoch, scope, state.published_seq)
                elif await self._watch.wait_for_change(scope, state.published_seq, HEARTBEAT_SECONDS, claims.caller):
                    continue
                else:
                    piece = HEARTBEAT
            except ProblemError:
                # The listener comes back and is told what is wrong by an ordinary answer.
                return
            if self._watch.stopping:
                return
            yield piece

    async def _event(self, scope: Scope, state: StoreState) -> bytes:
        """Made once for all who listen to a scope."""
        if state is not self._events_state:
            self._events, self._events_state = {}, state
        event = self._events.get(scope)
        if event is None:
            view = question_of_view(scope, state.objects)
            cursor = view.cursor(state.published_seq, state)
            facts = await self._source.facts(view, state.published_seq, state)
            data = {"scope": scope, "cursor": cursor, "counts": facts.members()["counts"], **held_members(facts.held)}
            event = b"id: %s\nevent: publication\ndata: %s\n\n" % (cursor.encode(), orjson.dumps(data))
            if state is self._events_state:
                self._events[scope] = event
        return event


def _seen(last_event_id: bytes, state: StoreState) -> Seen | None:
    """None where it is no whole view of ours: then the newest is news."""
    try:
        cursor = decode_cursor(last_event_id.decode("latin-1"), state.cursor_key, state.epoch)
    except TokenError:
        return None
    if len(cursor.anchors) != 1:
        return None
    return Seen(cursor.epoch, cursor.anchors[0].scope, cursor.anchors[0].seq)


def _knows(seen: Seen, scope: Scope, state: StoreState) -> bool:
    same_history = (seen.epoch, seen.scope) == (state.epoch, scope)
    # What a caller knows from elsewhere, a replica that is behind will learn.
    possible = seen.seq <= state.published_seq or state.is_replica
    return same_history and possible and news_seq(scope, state) <= seen.seq
