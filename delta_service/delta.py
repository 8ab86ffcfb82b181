"""The delta routes: one question, answered from memory where nothing is new, else from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import NamedTuple

import orjson
from prometheus_client import Counter

from delta_service import metrics
from delta_service.answers import Answer, Headers
from delta_service.asked_before import AskedBefore
from delta_service.audit import Delivery
from delta_service.auth import Authenticator, Claims
from delta_service.body import Counts, json_body, with_envelope
from delta_service.compression import chosen_coding, compress, compress_stream
from delta_service.pacing import TokenBucket
from delta_service.problems import ProblemError, rate_limited
from delta_service.query import DeltaQuery, StoreNames, parse_query, preferred_wait_seconds
from delta_service.question import Held, Question, base_path, newest_named, question_of, question_of_page
from delta_service.quiet import Quiet, matches, quiet_answer
from delta_service.repeats import Repeats
from delta_service.scope import asked_scope, held_rows, touched_seq
from delta_service.scoped_request import NDJSON, ScopedRequest
from delta_service.settings import ServiceSettings
from delta_service.sharing import SharedResults
from delta_service.source import ViewSource
from delta_service.store.views import StoreState
from delta_service.sync_headers import SyncFacts
from delta_service.watch import StoreWatch

MEMOISED_ANSWERS = 20_000
# Devices with the same question share their answer: it is the page's body with headers.
SHARED_BYTES = 32 * 2**20
ANSWER_OVERHEAD_BYTES = 2_000

JSON = b"application/json"
COMMON_HEADERS: Headers = [
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"authorization, accept, accept-encoding, prefer"),
]


class Ready(NamedTuple):
    """A whole answer with something new, and what has to be noted each time it is given."""

    answer: Answer
    delivery: Delivery


class DeltaRoutes:
    """Answers ``/v1/delta`` and ``/v1/territories/{territory}/delta``."""

    def __init__(
        self,
        settings: ServiceSettings,
        authenticator: Authenticator,
        watch: StoreWatch,
        source: ViewSource,
        repeats: Repeats,
        asked_before: AskedBefore,
    ) -> None:
        self._authenticator = authenticator
        self._watch = watch
        self._source = source
        self._repeats = repeats
        self._asked_before = asked_before
        self._snapshots = TokenBucket(settings.snapshots_per_second)
        self._memo: dict[tuple[object, ...], Quiet] = {}
        self._shared = _no_answers()
        self._memo_state: StoreState | None = None

    async def answer(self, request: ScopedRequest) -> Answer:
        """Raises :class:`ProblemError`."""
        claims = await self._authenticator.authenticate(request.authorization, request.client)
        state = self._current()
        memo_key = (request.authorization, request.territory, request.query_string, request.accept)
        quiet = self._memo.get(memo_key)
        if quiet is not None and request.prefer is None:
            return self._repeatable(quiet, request, state)

        query = parse_query(request.query_string, StoreNames(state.objects, state.epoch, state.cursor_key))
        preferred_seconds = preferred_wait_seconds((request.prefer or b"").decode("latin-1"))
        wait_seconds = query.wait_seconds or preferred_seconds or 0
        held = await self._source.held(query.since, state)
        newest_seen = newest_named(query.page or held, state)
        if newest_seen > state.published_seq:
            state = await self._watch.reaching(newest_seen)
        question, now_seq = self._question(claims, request, query, held, state)
        if wait_seconds and _nothing_to_tell(question, request, state):
            await self._watch.wait_for_change(question.scope, state.published_seq, wait_seconds, claims.caller)
            state = self._current()
            question, now_seq = self._question(claims, request, query, held, state)
        if not question.nothing_new(state):
            answer = await self._news(request, query, question, now_seq, state)
        else:
            quiet = await self._quiet(question, state, ndjson=request.ndjson)
            if not wait_seconds and state is self._memo_state and len(self._memo) < MEMOISED_ANSWERS:
                self._memo[memo_key] = quiet
            answer, _ = quiet_answer(quiet, request)
        if preferred_seconds is not None:
            applied = (b"preference-applied", b"wait=%d" % preferred_seconds)
            answer = replace(answer, headers=[*answer.headers, applied])
        return answer

    def _current(self) -> StoreState:
        """The store's state. Answers hold until the next look at the store finds a commit."""
        state = self._watch.current()
        if state is not self._memo_state:
            self._memo, self._shared, self._memo_state = {}, _no_answers(), state
        return state

    def _question(
        self, claims: Claims, request: ScopedRequest, query: DeltaQuery, held: Held, state: StoreState
    ) -> tuple[Question, int]:
        """What is asked, and the publication that answers it."""
        scope = asked_scope(claims, request.territory, state)
        if query.page is not None:
            return question_of_page(query.page, scope, state), query.page.now_seq
        return question_of(query, held, scope, state), state.published_seq

    async def _quiet(self, question: Question, state: StoreState, *, ndjson: bool) -> Quiet:
        facts = await self._source.facts(question, state.published_seq, state)
        facts = replace(facts, cursor=question.cursor(state.published_seq, state))
        etag = _etag(question, state.published_seq, state, ndjson=ndjson)
        headers = [*facts.headers(), (b"etag", etag), *COMMON_HEADERS]
        if ndjson:
            return Quiet(etag, [(b"content-type", NDJSON), *headers], _trailer(facts))
        body = json_body((), question.form(state))
        if question.envelope:
            body = with_envelope(body, facts.members())
        return Quiet(etag, [(b"content-type", JSON), *headers], body)

    def _repeatable(self, quiet: Quiet, request: ScopedRequest, state: StoreState) -> Answer:
        """For one who asks again: the next time these very bytes are enough."""
        answer, counter = quiet_answer(quiet, request)
        self._repeats.keep(request, answer, counter, state)
        return answer

    async def _news(
        self, request: ScopedRequest, query: DeltaQuery, asked: Question, now_seq: int, state: StoreState
    ) -> Answer:
        question, in_memory = await self._source.settled(asked, now_seq, state)
        if request.if_none_match is not None:
            etag = _etag(question, now_seq, state, ndjson=request.ndjson)
            if matches(request.if_none_match, etag):
                metrics.NOT_MODIFIED.inc()
                return Answer(304, [(b"etag", etag), *COMMON_HEADERS])
        coding = chosen_coding(request.accept_encoding or b"")
        if request.ndjson:
            return await self._streamed(request, question, now_seq, state, coding)
        key = question, now_seq, coding
        if state is not self._memo_state:
            ready = await self._made(question, now_seq, state, coding)
        elif in_memory:
            # Nobody can be making it: it is made at once, and to wait for another task would cost a good part of it.
            shared = self._shared
            ready = shared.kept(key) or await self._made(question, now_seq, state, coding)
            shared.keep(key, ready)
        else:
            ready = await self._shared.get(key, lambda: self._made(question, now_seq, state, coding))
        if question.replaces or (in_memory and question.objects == state.objects):
            self._asked_before.keep(request, query, coding, question, *ready, state)
        ready.delivery.record(asked.anchors, request.request_id)
        return ready.answer

    def _admit(self, question: Question, *, ready: bool) -> None:
        """Raises the 429 problem for a snapshot that is not there yet, where too many are made."""
        if question.replaces and question.after is None and not (ready or self._snapshots.admits()):
            raise rate_limited("Too many devices fetch everything at once. Ask again later.")

    async def _streamed(
        self, request: ScopedRequest, question: Question, now_seq: int, state: StoreState, coding: str | None
    ) -> Answer:
        self._admit(question, ready=False)
        facts = await self._source.facts(question, now_seq, state)
        pieces = compress_stream(self._lines(request, question, now_seq, state, facts), coding)
        etag = _etag(question, now_seq, state, ndjson=True)
        headers = [(b"content-type", NDJSON), *facts.streamed_headers(), *_encoding(coding), (b"etag", etag)]
        return Answer(200, [*headers, *COMMON_HEADERS], stream=pieces, bulky=True)

    async def _made(self, question: Question, now_seq: int, state: StoreState, coding: str | None) -> Ready:
        """A whole answer."""
        page_coding = None if question.envelope else coding
        self._admit(question, ready=self._source.has_page(question, now_seq, state, page_coding))
        facts = await self._source.facts(question, now_seq, state)
        page = await self._source.page(question, now_seq, state, page_coding)
        if page.after is None:
            facts = replace(facts, cursor=question.cursor(now_seq, state))
        else:
            token = question.page_token(now_seq, page.after, state)
            facts = replace(facts, next_link=f"{base_path(question.scope)}/delta?page={token}")
        body, found_coding = page.body, page.coding
        if question.envelope:
            whole = with_envelope(body, facts.members())
            body, found_coding = await asyncio.to_thread(compress, whole, coding)

        kind = "page" if question.after is None else "next-page"
        delivery = Delivery(kind, question.scope, state.epoch, now_seq, page.counts, len(body), _requests(question))
        etag = _etag(question, now_seq, state, ndjson=False)
        headers = [(b"content-type", JSON), *facts.headers(), *_encoding(found_coding), (b"etag", etag)]
        return Ready(Answer(200, [*headers, *COMMON_HEADERS], body), delivery)

    async def _lines(
        self, request: ScopedRequest, question: Question, now_seq: int, state: StoreState, facts: SyncFacts
    ) -> AsyncGenerator[bytes, None]:
        counts, size, kind = Counts(), 0, "cut-stream"
        try:
            async for piece in self._source.lines(question, now_seq, state, counts):
                size += len(piece)
                yield piece
            kind = "stream"
            yield _trailer(replace(facts, cursor=question.cursor(now_seq, state)))
        except ProblemError as problem:
            # Too late for a status: without a trailer the answer is not complete, and this line says why.
            yield orjson.dumps({"problem": problem.document(request.request_id)}) + b"\n"
        finally:
            delivery = Delivery(kind, question.scope, state.epoch, now_seq, counts, size, _requests(question))
            delivery.record(question.anchors, request.request_id)


def _no_answers() -> SharedResults[Ready]:
    return SharedResults(SHARED_BYTES, lambda ready: len(ready.answer.body) + ANSWER_OVERHEAD_BYTES)


def _requests(question: Question) -> Counter:
    return metrics.SNAPSHOT if question.replaces else metrics.DELTA


def _nothing_to_tell(question: Question, request: ScopedRequest, state: StoreState) -> bool:
    """Whether the device knows all there is: what is held too, by its cursor or by the answer that it has."""
    if not question.nothing_new(state):
        return False
    etag = _etag(question, state.published_seq, state, ndjson=request.ndjson)
    return question.knows_held(state) or matches(request.if_none_match, etag)


def _etag(question: Question, now_seq: int, state: StoreState, *, ndjson: bool) -> bytes:
    # Only these two forms repeat in the body what else is in headers.
    stamp = (now_seq, state.published_seq, state.as_of) if ndjson or question.envelope else ()
    effective_seq = min(touched_seq(question.scope, state), now_seq)
    # A cache that is told 304 keeps the headers it has and is not told: these would stay when nothing is held any more.
    held = tuple(held_rows(question.scope, state).values())
    return question.etag(effective_seq, state.generation, ndjson, stamp, *held)


def _encoding(coding: str | None) -> Headers:
    return [] if coding is None else [(b"content-encoding", coding.encode())]


def _trailer(facts: SyncFacts) -> bytes:
    return orjson.dumps({"trailer": facts.members()}) + b"\n"
