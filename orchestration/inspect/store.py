"""The same questions to the delta store, which can be read while anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import orjson
import pandas as pd

from delta_service.store.changes import OPEN_SEQ
from delta_service.store.errors import StoreUnavailableError
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.schema import unsigned
from delta_service.store.views import Position, StoreState, View
from orchestration.inspect.moments import InspectError, Moment, check_kept, parse_moment, with_bodies
from orchestration.settings import PipelineSettings

PAGE_ROWS = 10_000


@contextmanager
def opened(file: Path | None) -> Iterator[tuple[DeltaStoreReader, StoreState]]:
    """The store (default: the one of the settings) and its state. Raises :class:`InspectError` where there is none."""
    location = file or PipelineSettings.from_environment().delta_store_location
    try:
        reader = DeltaStoreReader(location)
    except StoreUnavailableError as error:
        raise InspectError(f"{error}: set DELTA_HOME, or run full_load first") from error
    try:
        yield reader, reader.state(None)
    except StoreUnavailableError as error:
        raise InspectError(str(error)) from error
    finally:
        reader.close()


def publications(last: int = 20, *, file: Path | None = None) -> pd.DataFrame:
    """The newest publications first: seq, published_at, as_of."""
    with opened(file) as (reader, state):
        seqs = range(state.published_seq, max(state.published_seq - last, 0), -1)
        rows = [(seq, times[1], times[0]) for seq in seqs if (times := reader.publication_times(seq))]
    return pd.DataFrame(rows, columns=["seq", "published_at", "as_of"])


def deltas(
    territory: str, since: Moment = 0, until: Moment = None, *, bodies: bool = False, file: Path | None = None
) -> pd.DataFrame:
    """By what a territory (id or name) differs at ``until`` from ``since``: object, row_id, operation, version.

    Raises :class:`InspectError`.
    """
    with opened(file) as (reader, state):
        keys = [_territory_key(state, territory)]
        now = View(keys, _seq(reader, state, until))
        was = View([], now.seq) if parse_moment(since) == 0 else View(keys, _seq(reader, state, since))
        rows: list[tuple[str, str, str, str | None, str | None]] = []
        after: Position | None = None
        while True:
            page, after = reader.page(was, now, [], generation=state.generation, limit=PAGE_ROWS, after=after)
            for row in page:
                name = state.objects[row.object]
                operation = "delete" if row.body is None else "update" if row.was_visible else "insert"
                text = row.body.decode() if row.body is not None else None
                version = f"{unsigned(row.version):016x}" if row.body is not None and row.version is not None else None
                rows.append((name, row.row_id or _row_id(row.body), operation, version, text))
            if after is None:
                break
    frame = pd.DataFrame(rows, columns=["object", "row_id", "operation", "version", "body"])
    return with_bodies(frame, bodies=bodies, expand=False)


def history(obj: str, row_id: str, *, file: Path | None = None) -> pd.DataFrame:
    """A row's versions (kind ``content``) and the intervals in which territories saw it (kind ``visible``)."""
    with opened(file) as (reader, state):
        found = reader.history(_object_key(state, obj), row_id)
        rows: list[tuple[str, str | None, int, int | None, str | None]] = []
        if found is not None:
            rows += [
                ("content", None, start, _end(end), f"{unsigned(version):016x}")
                for start, end, version, _ in found.versions
            ]
            rows += [
                ("visible", state.territories[territory].name or territory, start, _end(end), None)
                for territory, start, end in found.intervals
            ]
    rows.sort(key=lambda row: (row[2], row[0], row[1] or ""))
    frame = pd.DataFrame(rows, columns=["kind", "territory", "from_seq", "to_seq", "version"])
    return frame.astype({"from_seq": "Int64", "to_seq": "Int64"})


def contents(
    territory: str, at: Moment = None, *, obj: str | None = None, bodies: bool = False, file: Path | None = None
) -> pd.DataFrame:
    """What a territory (id or name) sees at a moment: object, row_id, version.

    ``bodies`` adds the JSON text, or, of one object ``obj``, a column for each member. Raises :class:`InspectError`.
    """
    with opened(file) as (reader, state):
        view = View([_territory_key(state, territory)], _seq(reader, state, at))
        objects = [] if obj is None else [_object_key(state, obj)]
        found = reader.contents(view, objects, generation=state.generation)
        texts: list[str | None] = [None] * len(found)
        if bodies:
            if view.seq < state.body_horizon_seq:
                raise InspectError(f"texts of before publication {state.body_horizon_seq} are no longer kept")
            texts = [body.decode() for body in reader.bodies(found, view.seq, generation=state.generation)]
    rows = [
        (state.objects[row.object], row.row_id, f"{unsigned(row.version):016x}", text)
        for row, text in zip(found, texts, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["object", "row_id", "version", "body"])
    return with_bodies(frame, bodies=bodies, expand=obj is not None)


def _territory_key(state: StoreState, given: str) -> int:
    known = state.territories.get(given) or state.territories.get(state.ids_by_name.get(given, ""))
    if known is None:
        raise InspectError(f"territory {given} is not known, or names several: give the id")
    return known.key


def _object_key(state: StoreState, obj: str) -> int:
    if obj not in state.objects:
        raise InspectError(f"there is no object {obj}; there are {', '.join(state.objects)}")
    return state.objects.index(obj)


def _seq(reader: DeltaStoreReader, state: StoreState, moment: Moment) -> int:
    parsed = parse_moment(moment)
    if isinstance(parsed, datetime):
        parsed = reader.publication_at(parsed)
    return check_kept(state.published_seq if parsed is None else parsed, state.published_seq, state.horizon_seq)


def _row_id(body: bytes | None) -> str:
    """The first member of a row is its id."""
    return str(next(iter(orjson.loads(body or b'{"":""}').values())))


def _end(to_seq: int) -> int | None:
    return None if to_seq == OPEN_SEQ else to_seq
