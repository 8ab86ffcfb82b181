"""Proof of convergence and repair: digests of a view, and what differs from the rows that a device holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import orjson

from delta_service import metrics
from delta_service.answers import Answer, Headers
from delta_service.audit import Delivery
from delta_service.auth import Authenticator
from delta_service.body import counts_of, json_body, with_envelope
from delta_service.buckets import as_text
from delta_service.compression import chosen_coding, compress
from delta_service.cursor import Anchor, Cursor, TokenError, decode_cursor
from delta_service.difference import Held, TooManyRowsError, differing_rows
from delta_service.pacing import TokenBucket
from delta_service.problems import bad_request, rate_limited
from delta_service.query import DeltaQuery, RepairQuery, StoreNames, parse_digest_query, parse_repair_query
from delta_service.question import (
    HeldSince,
    comparison_expired,
    cursor_ahead,
    cursor_epoch,
    difference_too_large,
    newest_named,
    question_of,
    question_of_view,
)
from delta_service.reconcile_body import MAX_BODY_BYTES, Comparison, Repair, parse_body
from delta_service.scope import Scope, asked_scope, keys_of
from delta_service.scoped_request import ScopedRequest
from delta_service.settings import ServiceSettings
from delta_service.source import ViewSource
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.views import DeltaRow, StoreState, View
from delta_service.watch import StoreWatch

MAX_REPAIR_ROWS = 50_000
JSON_HEADERS: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"private, no-cache")]


class RepairRoutes:
    """Answers ``digest`` and ``reconcile``, of one territory or of the whole scope."""

    def __init__(
        self, settings: ServiceSettings, authenticator: Authenticator, watch: StoreWatch, source: ViewSource
    ) -> None:
        self._authenticator = authenticator
        self._watch = watch
        self._source = source
        self._pace = TokenBucket(settings.reconciles_per_second)

    async def digest(self, request: ScopedRequest) -> Answer:
        """Counts and digests of a view, with ``buckets`` also of its 256 parts."""
        claims = await self._authenticator.authenticate(request.authorization, request.client)
        state = self._watch.current()
        query = parse_digest_query(request.query_string, _names(state))
        scope = asked_scope(claims, request.territory, state)
        at = await self._source.held(query.at, state)
        state = await self._watch.reaching(newest_named(at, state))
        if isinstance(at, HeldSince):
            at = HeldSince(at.seq or 0)
        question = question_of(DeltaQuery(since=query.at, objects=query.objects), at, scope, state)
        anchors = question.anchors or (Anchor(scope, state.published_seq, None),)
        if any(anchor.scope != scope for anchor in anchors):
            raise bad_request("cursor-malformed", "This cursor belongs to another scope.")

        # A device that asked for some objects only holds each at a publication of its own.
        held = {name: _seq_of(name, anchors) for name in question.objects}
        seqs = {name: seq for name, seq in held.items() if seq is not None}
        whole = replace(question, objects=state.objects)
        facts_at = {seq: await self._source.facts(whole, seq, state) for seq in {*seqs.values(), anchors[0].seq}}
        facts = replace(
            facts_at[min(facts_at)],
            objects=tuple(seqs),
            totals=tuple(facts_at[seq].totals[state.objects.index(name)] for name, seq in seqs.items()),
            replaces=False,
            cursor=Cursor(state.epoch, anchors).encode(state.cursor_key),
        )
        document = facts.members()
        if query.buckets:
            if not all(self._source.has_buckets(scope, seq, state) for seq in seqs.values()):
                self._admit()
            found = {seq: await self._source.buckets(scope, seq, state) for seq in set(seqs.values())}
            document["buckets"] = {name: as_text(found[seq][state.objects.index(name)]) for name, seq in seqs.items()}
        metrics.DIGEST.inc()
        headers = [*JSON_HEADERS, *facts.headers(), (b"vary", b"authorization, accept-encoding")]
        return await _coded(request, headers, orjson.dumps(document))

    async def reconcile(self, request: ScopedRequest) -> Answer:
        """Either round, told apart by the body."""
        claims = await self._authenticator.authenticate(request.authorization, request.client)
        state = self._watch.current()
        query = parse_repair_query(request.query_string)
        scope = asked_scope(claims, request.territory, state)
        body = await request.body(MAX_BODY_BYTES)
        self._admit()
        asked = await asyncio.to_thread(parse_body, body)
        if asked.cursor is not None:
            state = await self._watch.reaching(newest_named(_decoded(asked.cursor, state), state))
        if isinstance(asked, Comparison):
            return await self._compare(request, asked, scope, state)
        return await self._repair(request, asked, query, scope, state)

    async def _compare(self, request: ScopedRequest, asked: Comparison, scope: Scope, state: StoreState) -> Answer:
        _check_objects(asked.buckets, state.objects)
        objects = tuple(name for name in state.objects if name in asked.buckets)
        seq = _seq_to_compare(asked.cursor, scope, state)
        ours = await self._source.buckets(scope, seq, state)
        differing = {
            name: [
                bucket
                for bucket, (theirs, digest) in enumerate(
                    zip(asked.buckets[name], ours[state.objects.index(name)], strict=True)
                )
                if int(theirs, 16) != digest
            ]
            for name in objects
        }
        cursor = question_of_view(scope, objects).cursor(seq, state)
        metrics.COMPARISON.inc()
        return await _coded(request, JSON_HEADERS, orjson.dumps({"cursor": cursor, "differing": differing}))

    async def _repair(
        self, request: ScopedRequest, asked: Repair, query: RepairQuery, scope: Scope, state: StoreState
    ) -> Answer:
        anchor = _anchor_to_repair(asked.cursor, scope, state)
        objects = anchor.objects or state.objects
        _check_objects({**asked.differing, **asked.versions}, objects)
        question = replace(question_of_view(scope, objects), versions=query.versions, envelope=query.envelope)
        keys = {name: key for key, name in enumerate(state.objects)}
        held = {
            keys[name]: Held(frozenset(asked.differing.get(name, ())), asked.versions.get(name, {})) for name in objects
        }

        def read(reader: DeltaStoreReader) -> list[DeltaRow]:
            view = View(keys_of(scope, state), anchor.seq)
            return differing_rows(reader, view, held, generation=state.generation, max_rows=MAX_REPAIR_ROWS)

        try:
            rows = await self._source.ask(question, read)
        except TooManyRowsError:
            raise difference_too_large(scope, MAX_REPAIR_ROWS) from None
        facts = await self._source.facts(question, anchor.seq, state)
        facts = replace(facts, replaces=False, cursor=question.cursor(anchor.seq, state))
        body = await asyncio.to_thread(json_body, rows, question.form(state))
        if query.envelope:
            body = with_envelope(body, facts.members())
        answer = await _coded(request, [*JSON_HEADERS, *facts.headers()], body)
        Delivery("repair", scope, state.epoch, anchor.seq, counts_of(rows), len(answer.body), metrics.REPAIR).record(
            (), request.request_id
        )
        return answer

    def _admit(self) -> None:
        if not self._pace.admits():
            raise rate_limited("Too many devices compare what they hold at once. Ask again later.")


async def _coded(request: ScopedRequest, headers: Headers, body: bytes) -> Answer:
    body, coding = await asyncio.to_thread(compress, body, chosen_coding(request.accept_encoding or b""))
    return Answer(200, [*headers, *([(b"content-encoding", coding.encode())] if coding else [])], body)


def _names(state: StoreState) -> StoreNames:
    return StoreNames(state.objects, state.epoch, state.cursor_key)


def _seq_of(name: str, anchors: Iterable[Anchor]) -> int | None:
    return next((anchor.seq for anchor in anchors if anchor.objects is None or name in anchor.objects), None)


def _check_objects(names: Iterable[str], objects: tuple[str, ...]) -> None:
    if any(name not in objects for name in names):
        raise bad_request("object-unknown", f"The objects here are {', '.join(objects)}.")


def _decoded(text: str, state: StoreState) -> Cursor:
    try:
        return decode_cursor(text, state.cursor_key, state.epoch)
    except TokenError:
        raise bad_request("cursor-malformed", "This is no cursor.") from None


def _seq_to_compare(text: str | None, scope: Scope, state: StoreState) -> int:
    """The publication of the device's cursor if its view can be repaired to, else the newest: never a dead end."""
    cursor = None if text is None else _decoded(text, state)
    if cursor is not None and cursor.epoch == state.epoch and len(cursor.anchors) == 1:
        (anchor,) = cursor.anchors
        if anchor.scope == scope and state.body_horizon_seq <= anchor.seq <= state.published_seq:
            return anchor.seq
    return state.published_seq


def _anchor_to_repair(text: str, scope: Scope, state: StoreState) -> Anchor:
    """What the first round compared with. Raises the 400, 409 and 410 problems."""
    cursor = _decoded(text, state)
    if cursor.epoch != state.epoch:
        raise cursor_epoch(scope)
    anchor = cursor.anchors[0] if len(cursor.anchors) == 1 else None
    if anchor is None or anchor.scope != scope:
        raise bad_request("cursor-malformed", "This cursor is not from a comparison of this scope.")
    if anchor.seq > state.published_seq:
        raise cursor_ahead(scope)
    if anchor.seq < state.body_horizon_seq:
        raise comparison_expired(scope)
    return anchor
