"""``GET /v1/explain``: why a row is, or is not, in a territory. For operators; it shows history, never content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from delta_service.answers import Answer
from delta_service.auth import Claims
from delta_service.problems import bad_request, not_found, scope_denied
from delta_service.query import given_parameters
from delta_service.source import ViewSource
from delta_service.store.changes import OPEN_SEQ
from delta_service.store.schema import unsigned
from delta_service.store.views import RowHistory, StoreState
from delta_service.sync_headers import utc_second

PARAMETERS = ("territory", "object", "rowId")


@dataclass(frozen=True, slots=True)
class Subject:
    """A row, and the territory it is asked about (by id)."""

    territory: str
    object: str
    row_id: str


async def explain_answer(claims: Claims, query_string: bytes, state: StoreState, source: ViewSource) -> Answer:
    """Raises the 400, 403 (without ``admin: true``) and 404 problems."""
    if not claims.admin:
        raise scope_denied("The token is not one of an operator.")
    subject = _subject(given_parameters(query_string, PARAMETERS), state)
    object_key = state.objects.index(subject.object)
    history = await source.ask(None, lambda reader: reader.history(object_key, subject.row_id))
    history = history or RowHistory(None, [], [])
    here = [(start, end) for territory, start, end in history.intervals if territory == subject.territory]
    seqs = {seq for start, end, *_ in (*here, *history.versions) for seq in (start, end) if seq <= state.published_seq}
    times = {seq: await source.times(seq, state) for seq in seqs}

    def bounds(from_seq: int, to_seq: int) -> dict[str, object]:
        members: dict[str, object] = {"fromSeq": from_seq, "toSeq": None if to_seq == OPEN_SEQ else to_seq}
        for name, seq in (("from", from_seq), ("to", to_seq)):
            found = times.get(seq)
            members[name] = utc_second(found[1]) if found else None
        return members

    document = {
        "territory": subject.territory,
        "object": subject.object,
        "rowId": subject.row_id,
        "visible": _open(here) and _open(history.versions),
        "why": _why(subject, history, state),
        "publishedSeq": state.published_seq,
        "horizonSeq": state.horizon_seq,
        "mergedInto": history.merged_into,
        "seenBy": [territory for territory, _, end in history.intervals if end == OPEN_SEQ],
        "intervals": [bounds(start, end) for start, end in here],
        "versions": [
            bounds(start, end) | {"version": f"{unsigned(version):016x}", "bodyKept": bool(kept)}
            for start, end, version, kept in history.versions
        ],
    }
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return Answer(200, headers, orjson.dumps(document))


def _subject(given: dict[str, str], state: StoreState) -> Subject:
    for name in PARAMETERS:
        if not given.get(name):
            raise bad_request("parameter-invalid", f"The parameter {name!r} is needed.")
    if given["object"] not in state.objects:
        raise bad_request("object-unknown", f"The objects here are {', '.join(state.objects)}.")
    territory = given["territory"]
    if territory not in state.territories:
        territory = state.ids_by_name.get(territory, "")
    if not territory:
        raise not_found("The store has no such territory.")
    return Subject(territory, given["object"], given["rowId"])


def _why(subject: Subject, history: RowHistory, state: StoreState) -> str:
    here = [interval for interval in history.intervals if interval[0] == subject.territory]
    elsewhere = sorted(territory for territory, _, end in history.intervals if end == OPEN_SEQ)
    known = f" since publication {state.horizon_seq}, where history begins" if state.horizon_seq else ""
    if not history.versions and not history.intervals:
        return f"No such row was published{known}."
    last = here[-1] if here else None
    if last is not None and last[2] == OPEN_SEQ:
        return f"The territory sees it since publication {last[1]}."
    if not _open(history.versions):
        ended = max(end for _, end, *_ in history.versions)
        merged = f", merged into {history.merged_into}" if history.merged_into else ", deleted in or lost from the CRM"
        seen = "" if last else f" The territory never saw it{known}."
        return f"It ended with publication {ended}{merged}.{seen}"
    where = f"now seen by {', '.join(elsewhere)}" if elsewhere else "now seen by no territory"
    if last is None:
        return f"It exists, but the territory never saw it{known}; it is {where}."
    return f"It left the territory with publication {last[2]} and is {where}."


def _open(intervals: Iterable[tuple[int, ...]]) -> bool:
    return any(interval[1] == OPEN_SEQ for interval in intervals)
