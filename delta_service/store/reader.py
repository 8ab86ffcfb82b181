"""Reading the delta store: exact differences of views, page by page, at a publication that stays fixed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

from delta_service.store import questions
from delta_service.store.batches import ROWS_PER_BATCH, batches
from delta_service.store.engine import StoreLocation, engine_at
from delta_service.store.errors import (
    HistoryExpiredError,
    PageExpiredError,
    StoreDamagedError,
    StoreUnavailableError,
)
from delta_service.store.questions_or_later import delta_page_since_any
from delta_service.store.recent import Recent, RecentRow, nothing_known, recent_of
from delta_service.store.schema import SCHEMA_VERSION, unsigned
from delta_service.store.times import from_microseconds, to_microseconds
from delta_service.store.views import (
    NOTHING,
    Content,
    DeltaRow,
    HeldRows,
    Position,
    RowHistory,
    RowText,
    StoreState,
    Territory,
    Total,
    View,
)

FEW_ROWS = 100
"""As many at most are remembered of what lately changed in a view."""
RECENT_VERSIONS = 2_000
"""As many at most are looked through for it."""
BODIES_PER_QUERY = 100


class DeltaStoreReader:
    """One connection, for one thread at a time. Raises StoreUnavailableError where there is no usable store."""

    def __init__(self, location: StoreLocation) -> None:
        self._connection = engine_at(location).open_reader()

    def close(self) -> None:
        self._connection.close()

    def is_current(self) -> bool:
        """Whether it still reads what is at the location now."""
        return self._connection.is_current()

    def version(self) -> object:
        """Changes whenever another connection has committed."""
        return self._connection.version()

    def state(self, known: StoreState | None) -> StoreState:
        """The newest state; what has not changed since ``known`` is taken from there."""
        with self._connection.snapshot():
            return self._read_state(known)

    def page(
        self,
        was: View,
        now: View,
        objects: Sequence[int],
        *,
        generation: str,
        limit: int,
        after: Position | None = None,
        or_later: bool = False,
    ) -> tuple[list[DeltaRow], Position | None]:
        """Up to ``limit`` differing rows in (object, row) order, and the position to go on after, None at the end.

        ``was`` is at the same publication as ``now`` or an earlier one. ``objects`` are keys; none means all. With
        ``or_later`` the rows are those that lead to ``now`` from the view of ``was``' territories, which are also
        those of ``now``, at any publication from ``was`` on. Raises HistoryExpiredError, PageExpiredError.
        """
        asked = _Asked.of(was, now, objects, after)
        if asked is None:
            return [], None
        if not was.territories:
            sql = questions.snapshot_page(asked.shape)
        elif or_later:
            sql = delta_page_since_any(asked.shape)
        else:
            sql = questions.delta_page(asked.shape)
        with self._connection.snapshot():
            self._check_horizons(was, now, generation)
            rows = self._rows(sql, asked.parameters | {"limit": limit + 1})
        position = None
        if len(rows) > limit:
            rows.pop()
            position = Position(rows[-1].object, rows[-1].row_key)
        # A snapshot lists a visible row even if it has no content; it is in no view.
        return [row for row in rows if row.body is not None or row.row_id is not None], position

    def recent(self, view: View, *, generation: str, few_rows: int = FEW_ROWS) -> Recent:
        """What lately changed in a view, as far back as few rows did and their history is short.

        Raises PageExpiredError.
        """
        count = len(view.territories)
        if not 0 < count <= questions.FEW_TERRITORIES:
            return nothing_known(view.seq)
        sql, parameters = questions.recent(count), _of_view(view)
        with self._connection.snapshot():
            horizon_seq = self._check_horizons(View((), view.seq), view, generation)
            few = parameters | {"few": few_rows // count}
            reach: int = self._connection.execute(questions.reach(count), few).get
            since_seq = max(horizon_seq, reach)
            if since_seq > view.seq:
                # The store is ahead of what is asked about.
                return nothing_known(view.seq)
            parameters |= {"since": since_seq}
            found = list(self._connection.execute(sql.versions, parameters | {"limit": RECENT_VERSIONS + 1}))
            if len(found) > RECENT_VERSIONS:
                return nothing_known(view.seq)
            versions: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
            for key, from_seq, to_seq, version in found:
                versions[key].append((from_seq, to_seq, version))
            intervals: dict[int, list[tuple[int, int]]] = defaultdict(list)
            for key, from_seq, to_seq in self._connection.execute(sql.intervals, parameters):
                intervals[key].append((from_seq, to_seq))
            rows = [
                RecentRow._make((*row, intervals[row[1]], versions[row[1]]))
                for row in self._connection.execute(sql.rows, parameters)
            ]
        return recent_of(rows, since_seq, view.seq)

    def totals(self, view: View, object_count: int) -> tuple[Total, ...]:
        """Size and digest of each object in a view. Raises HistoryExpiredError."""
        found = {}
        with self._connection.snapshot():
            _, _, horizon_seq, body_horizon_seq = self._horizons()
            if view.seq < horizon_seq:
                raise _expired(horizon_seq)
            # Sizes are kept as long as bodies are; of older views they are counted.
            if len(view.territories) == 1 and view.seq >= body_horizon_seq:
                (territory,) = view.territories
                return self._heads(territory, view.seq, object_count)
            if view.territories:
                sql = questions.totals(len(view.territories))
                for key, rows, low, high in self._connection.execute(sql, _of_view(view)):
                    found[key] = Total(rows, (low + (high << 32)) % 2**64)
        return tuple(found.get(key, NOTHING) for key in range(object_count))

    def contents(self, view: View, objects: Sequence[int], *, generation: str) -> list[Content]:
        """All rows of a view in (object, row) order. ``objects`` are keys; none means all.

        Raises HistoryExpiredError, and PageExpiredError when keys were assigned anew.
        """
        if not view.territories:
            return []
        sql = questions.contents(len(view.territories), len(objects))
        with self._connection.snapshot():
            current, _, horizon_seq, _ = self._horizons()
            if current != generation:
                raise PageExpiredError("row keys were assigned anew")
            if view.seq < horizon_seq:
                raise _expired(horizon_seq)
            parameters = _of_view(view) | questions.named("object", objects)
            return [Content(*row) for row in self._connection.execute(sql, parameters)]

    def bodies(self, contents: Iterable[Content], seq: int, *, generation: str) -> list[bytes]:
        """The bodies of rows of :meth:`contents` at ``seq``, in order. Raises PageExpiredError."""
        with self._connection.snapshot():
            current, _, _, body_horizon_seq = self._horizons()
            if current != generation or seq < body_horizon_seq:
                raise PageExpiredError("the bodies of this publication are no longer kept")
            found: dict[int | None, bytes] = {}
            keys = [content.body_key for content in contents]
            for batch in batches(keys, BODIES_PER_QUERY):
                # The last is filled up with nothing, so that there is one text.
                batch += [None] * (BODIES_PER_QUERY - len(batch))
                found.update(self._connection.execute(questions.bodies(BODIES_PER_QUERY), batch))
            return [found[key] for key in keys]

    def texts(self) -> Iterator[RowText]:
        """The versions that have, or must have, a text, whoever sees them: to be held against what is told of them."""
        place = {"row_key": 0, "from_seq": 0}
        while rows := list(self._connection.execute(questions.TEXTS, {**place, "limit": ROWS_PER_BATCH})):
            yield from map(RowText._make, rows)
            place = dict(zip(place, rows[-1], strict=False))

    def history(self, object_key: int, row_id: str) -> RowHistory | None:
        """Everything kept about a row, or None of one that is not known."""
        with self._connection.snapshot():
            row = self._connection.execute(questions.ROW, (object_key, row_id)).fetchone()
            if row is None:
                return None
            key, merged_into = row
            versions = list(self._connection.execute(questions.VERSIONS, (key,)))
            return RowHistory(merged_into, versions, list(self._connection.execute(questions.INTERVALS, (key,))))

    def publication_at(self, time: datetime) -> int:
        """The newest publication made at or before a time; 0 if there is none."""
        seq: int | None = self._connection.execute(questions.PUBLICATION_AT, (to_microseconds(time),)).get
        return seq or 0

    def publications_made(self, start: datetime, end: datetime) -> list[int]:
        """Publications made from ``start`` on and before ``end``."""
        times = {"start": to_microseconds(start), "end": to_microseconds(end)}
        return [seq for (seq,) in self._connection.execute(questions.PUBLICATIONS_MADE, times)]

    def publications_as_of(self, start: datetime, end: datetime) -> list[int]:
        """Publications during which the CRM may have been known up to a time from ``start`` on and before ``end``."""
        times = {"start": to_microseconds(start), "end": to_microseconds(end)}
        return [seq for (seq,) in self._connection.execute(questions.PUBLICATIONS_AS_OF, times)]

    def publication_times(self, seq: int) -> tuple[datetime, datetime] | None:
        """``as_of`` and ``published_at`` of a publication inside the horizon."""
        row = self._connection.execute(questions.PUBLICATION, (seq,)).get
        return None if row is None else (from_microseconds(row[0]), from_microseconds(row[1]))

    def _rows(self, sql: str, parameters: Mapping[str, int]) -> list[DeltaRow]:
        rows = list(map(DeltaRow._make, self._connection.execute(sql, parameters)))
        rows.sort(key=itemgetter(0, 1))
        return rows

    def _check_horizons(self, was: View, now: View, generation: str) -> int:
        """Returns the horizon."""
        current, published_seq, horizon_seq, body_horizon_seq = self._horizons()
        if generation != current or now.seq < body_horizon_seq:
            raise PageExpiredError("the publication this page is fixed to is no longer kept in full")
        if was.territories and was.seq < horizon_seq:
            raise _expired(horizon_seq)
        if now.seq > published_seq:
            raise StoreUnavailableError("this replica of the store has not got that publication yet")
        return horizon_seq

    def _horizons(self) -> tuple[str, int, int, int]:
        """Generation, newest publication, horizon and body horizon."""
        horizons: tuple[str, int, int, int] = self._connection.execute(questions.HORIZONS).get
        return horizons

    def _read_state(self, known: StoreState | None) -> StoreState:
        self._connection.check_content()
        meta: tuple[Any, ...] | None = self._connection.execute(questions.META).get
        if meta is None or meta[0] != SCHEMA_VERSION:
            raise StoreDamagedError("the delta store's content is of another version of this program, or damaged")
        _, epoch, cursor_key, generation, published_seq, horizon_seq, body_horizon_seq, as_of, published_at = meta
        # A replica that was promoted may have lost publications.
        if known is not None and (known.generation != generation or known.published_seq > published_seq):
            known = None
        since = known.published_seq if known else -1
        objects = tuple(name for (name,) in self._connection.execute(questions.OBJECTS))
        territories = {}
        held = self._held_rows()
        heads: dict[tuple[int, int], Total] = {}
        for territory, key, rows, digest in self._connection.execute(questions.HEADS, {"since": since}):
            heads[territory, key] = Total(rows, unsigned(digest))
        for key, id_, name, touched_seq in self._connection.execute(questions.TERRITORIES):
            before = known.territories.get(id_) if known else None
            if before and touched_seq <= since:
                totals = before.totals
            else:
                totals = tuple(heads.get((key, position), NOTHING) for position in range(len(objects)))
            held_now = tuple(held.get(key, ()))
            if before and before.held == held_now:
                held_seq = before.held_seq
            else:
                held_seq = published_seq if before or held_now else 0
            territories[id_] = Territory(key, id_, name, touched_seq, totals, held_now, held_seq)
        return StoreState(
            epoch=epoch,
            cursor_key=cursor_key,
            generation=generation,
            objects=objects,
            published_seq=published_seq,
            horizon_seq=horizon_seq,
            body_horizon_seq=body_horizon_seq,
            as_of=from_microseconds(as_of),
            published_at=from_microseconds(published_at or 0),
            territories=territories,
            ids_by_name=_unique_names(territories.values()),
            is_replica=self._connection.is_replica(),
        )

    def _held_rows(self) -> dict[int, list[HeldRows]]:
        """By territory."""
        found: dict[int, list[HeldRows]] = defaultdict(list)
        if self._connection.has_table("held"):
            for territory, key, rows, since_us in self._connection.execute(questions.HELD):
                found[territory].append(HeldRows(key, rows, from_microseconds(since_us)))
        return found

    def _heads(self, territory: int, seq: int, object_count: int) -> tuple[Total, ...]:
        totals = []
        for key in range(object_count):
            row = self._connection.execute(questions.HEAD_AT, {"territory": territory, "object": key, "now": seq}).get
            totals.append(Total(row[0], unsigned(row[1])) if row else NOTHING)
        return tuple(totals)


@contextmanager
def reading(location: StoreLocation) -> Iterator[DeltaStoreReader]:
    """A reader for a while, whose driver's errors are raised as StoreUnavailableError."""
    engine = engine_at(location)
    try:
        with closing(DeltaStoreReader(location)) as reader:
            yield reader
    except engine.errors as error:
        raise engine.unavailable(error) from error


class _Asked(NamedTuple):
    """A difference of views as SQL has it."""

    shape: questions.Shape
    parameters: dict[str, int]

    @classmethod
    def of(cls, was: View, now: View, objects: Sequence[int], after: Position | None) -> _Asked | None:
        """None where neither view can hold anything."""
        shared = set(was.territories) & set(now.territories)
        lost, gained = sorted(set(was.territories) - shared), sorted(set(now.territories) - shared)
        if not (shared or lost or gained):
            return None
        parameters: dict[str, int] = {
            "was": was.seq,
            "now": now.seq,
            **questions.named("shared", sorted(shared)),
            **questions.named("lost", lost),
            **questions.named("gained", gained),
            **questions.named("object", objects),
        }
        if after is not None:
            parameters |= {"after_object": after.object, "after_row": after.row_key}
        shape = questions.Shape(len(shared), len(lost), len(gained), len(objects), after is not None)
        return cls(shape, parameters)


def _expired(horizon_seq: int) -> HistoryExpiredError:
    return HistoryExpiredError(f"history before publication {horizon_seq} is no longer kept")


def _of_view(view: View) -> dict[str, int]:
    return {"now": view.seq, **questions.named("territory", sorted(view.territories))}


def _unique_names(territories: Iterable[Territory]) -> dict[str, str]:
    named = [(territory.name, territory.id) for territory in territories if territory.name is not None]
    count = Counter(name for name, _ in named)
    return {name: id_ for name, id_ in named if count[name] == 1}
