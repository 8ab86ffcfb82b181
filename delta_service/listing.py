"""``GET /v1/territories``: what the caller's token covers."""

from __future__ import annotations

import orjson

from delta_service.answers import Answer
from delta_service.auth import Claims
from delta_service.cursor import Anchor, Cursor
from delta_service.question import base_path
from delta_service.scope import EVERYTHING, granted_scope, held_rows
from delta_service.store.views import StoreState, Territory
from delta_service.sync_headers import held_members


def territories_answer(claims: Claims, state: StoreState) -> Answer:
    """The token's territories by id, with their newest cursor, counts and digests, and what is held of them."""
    scope = granted_scope(claims, state)
    ids = sorted(state.territories) if scope == EVERYTHING else scope
    document = {"territories": [_entry(state.territories[id_], state) for id_ in ids]}
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"private, no-cache")]
    return Answer(200, [*headers, (b"vary", b"authorization")], orjson.dumps(document))


def _entry(territory: Territory, state: StoreState) -> dict[str, object]:
    cursor = Cursor(state.epoch, (Anchor((territory.id,), state.published_seq, None),))
    return {
        "id": territory.id,
        "name": territory.name,
        "cursor": cursor.encode(state.cursor_key),
        "publishedSeq": state.published_seq,
        "touchedSeq": territory.touched_seq,
        "counts": {name: total.rows for name, total in zip(state.objects, territory.totals, strict=True)},
        "digest": {name: f"{total.digest:016x}" for name, total in zip(state.objects, territory.totals, strict=True)},
        "delta": base_path((territory.id,)) + "/delta",
        **held_members(held_rows((territory.id,), state)),
    }
