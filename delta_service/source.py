"""Pages, totals and times from the store: read once for all who ask the same, with the store's errors as problems."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from delta_service import metrics
from delta_service.body import Counts, counts_of, json_body, ndjson_lines
from delta_service.buckets import BucketDigests, bucket_digests
from delta_service.compression import compress
from delta_service.problems import store_unavailable
from delta_service.query import Since
from delta_service.question import Held, HeldSince, Part, Question, cursor_expired, page_expired, parts_of
from delta_service.scope import Scope, held_rows, keys_of, touched_seq
from delta_service.sharing import SharedResults
from delta_service.stamps import MILLISECOND, Stamp, StampKind, named_publication, stamp_of
from delta_service.store.errors import HistoryExpiredError, PageExpiredError, StoreUnavailableError
from delta_service.store.reader import FEW_ROWS, DeltaStoreReader
from delta_service.store.recent import Recent
from delta_service.store.views import NOTHING, DeltaRow, Position, StoreState, Total, View
from delta_service.sync_headers import SyncFacts
from delta_service.watch import ReaderPool

KEPT_PAGES_BYTES = 64 * 2**20
KEPT_RECENT_BYTES = 64 * 2**20
PAGE_OVERHEAD_BYTES = 1_000
KEPT_TOTALS = 4_096
KEPT_BUCKETS = 1_024
# A stream has no pages for the device; its pieces are of a size that many slow readers can hold.
STREAM_ROWS = 2_000
# So many publications that another process, or a store before a backup was restored, has shown to a device.
STAMPS_AHEAD = 20
# A place after every row of an object: where the next part of a question begins.
LAST_ROW_KEY = 2**62

R = TypeVar("R")

ViewName = tuple[str, Scope, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A page ready to be sent."""

    body: bytes
    coding: str | None
    counts: Counts
    after: Position | None
    """Where the next page begins; None on the last."""


class ViewSource:
    def __init__(self, pool: ReaderPool, poll_seconds: int) -> None:
        self._pool = pool
        self._poll_seconds = poll_seconds
        self._pages: SharedResults[Page] = SharedResults(
            KEPT_PAGES_BYTES, lambda page: len(page.body) + PAGE_OVERHEAD_BYTES
        )
        self._recent: SharedResults[Recent] = SharedResults(KEPT_RECENT_BYTES, lambda recent: recent.size_bytes)
        self._totals: SharedResults[tuple[Total, ...]] = SharedResults(KEPT_TOTALS, lambda _: 1)
        self._buckets: SharedResults[BucketDigests] = SharedResults(KEPT_BUCKETS, lambda _: 1)

    def has_page(self, question: Question, now_seq: int, state: StoreState, coding: str | None) -> bool:
        """Whether a page is there, or about to be, without asking the store."""
        key = _page_key(question, now_seq, state, coding)
        return self._pages.kept(key) is not None or self._pages.in_the_making(key)

    def recent_at_hand(self, view: ViewName) -> Recent | None:
        """What lately changed in a view, where that is in memory."""
        return self._recent.kept(view)

    async def settled(self, question: Question, now_seq: int, state: StoreState) -> tuple[Question, bool]:
        """The question by the name that all with this answer share, and whether the answer is found in memory."""
        recent = await self._recent_for(question, now_seq, state)
        if recent is None:
            return question, False
        start_seq = recent.start_of(question.anchors[0].seq)
        # The others' views differ, though by nothing that is asked about: a cursor for part of the objects names both.
        if start_seq is None or question.objects != state.objects:
            return question, True
        return question.since(start_seq), True

    async def page(self, question: Question, now_seq: int, state: StoreState, coding: str | None) -> Page:
        key = _page_key(question, now_seq, state, coding)
        if (page := self._pages.kept(key)) is not None:
            return page
        form = question.form(state)

        def finished(rows: list[DeltaRow], after: Position | None) -> Page:
            body, found_coding = compress(json_body(rows, form), coding)
            return Page(body, found_coding, counts_of(rows), after)

        recent = await self._recent_for(question, now_seq, state)
        if recent is not None:
            rows = recent.difference(question.anchors[0].seq)
            page = finished([row for row in rows if row.object in form.keys], None)
            self._pages.keep(key, page)
            return page
        parts, now = parts_of(question, now_seq, state), _view(question, now_seq, state)

        def read(reader: DeltaStoreReader) -> Page:
            with metrics.READ_SECONDS.time():
                return finished(*read_rows(reader, parts, now, state.generation, question.limit, question.after))

        return await self._pages.get(key, lambda: self.ask(question, read))

    async def lines(
        self, question: Question, now_seq: int, state: StoreState, counts: Counts
    ) -> AsyncGenerator[bytes, None]:
        """All operations from the question's place on, piece by piece; adds to ``counts`` as it goes."""
        parts, now, form = parts_of(question, now_seq, state), _view(question, now_seq, state), question.form(state)
        after, rows_each = question.after, min(question.limit, STREAM_ROWS)

        def read(reader: DeltaStoreReader) -> tuple[bytes, Counts, Position | None]:
            with metrics.READ_SECONDS.time():
                rows, position = read_rows(reader, parts, now, state.generation, rows_each, after)
                return ndjson_lines(rows, form), counts_of(rows), position

        while True:
            piece, found, after = await self.ask(question, read)
            counts.add(found)
            if piece:
                yield piece
            if after is None:
                return

    async def totals(self, scope: Scope, now_seq: int, state: StoreState) -> tuple[Total, ...]:
        """Of the whole view, object by object in the store's order."""
        newest, keys = touched_seq(scope, state), keys_of(scope, state)
        if not keys:
            return (NOTHING,) * len(state.objects)
        if len(scope) == 1 and scope[0] in state.territories and now_seq >= newest:
            return state.territories[scope[0]].totals

        def read(reader: DeltaStoreReader) -> tuple[Total, ...]:
            return reader.totals(View(keys, now_seq), len(state.objects))

        return await self._totals.get(view_name(scope, now_seq, state), lambda: self.ask(None, read))

    def has_buckets(self, scope: Scope, seq: int, state: StoreState) -> bool:
        """Whether bucket digests are there, or about to be, without reading the view."""
        key = view_name(scope, seq, state)
        return self._buckets.kept(key) is not None or self._buckets.in_the_making(key)

    async def buckets(self, scope: Scope, seq: int, state: StoreState) -> BucketDigests:
        """Of the whole view, object by object in the store's order."""
        view, count = View(keys_of(scope, state), seq), len(state.objects)

        def read(reader: DeltaStoreReader) -> BucketDigests:
            return bucket_digests(reader.contents(view, (), generation=state.generation), count)

        return await self._buckets.get(view_name(scope, seq, state), lambda: self.ask(None, read))

    async def facts(self, question: Question, now_seq: int, state: StoreState) -> SyncFacts:
        """What an answer says about the view at ``now_seq``, but for how it goes on."""
        times = await self.times(now_seq, state)
        totals = await self.totals(question.scope, now_seq, state)
        return SyncFacts(
            as_of=stamp_of(StampKind.AS_OF, times[0], now_seq, state) if times else None,
            published=stamp_of(StampKind.PUBLISHED, times[1], now_seq, state) if times else None,
            exact=question.exact,
            replaces=question.replaces,
            poll_seconds=self._poll_seconds,
            objects=question.objects,
            totals=tuple(totals[state.objects.index(name)] for name in question.objects),
            held=held_rows(question.scope, state),
        )

    async def times(self, seq: int, state: StoreState) -> tuple[datetime, datetime] | None:
        """``as_of`` and ``published_at`` of a publication."""
        if seq == state.published_seq:
            return state.as_of, state.published_at
        return await self.ask(None, lambda reader: reader.publication_times(seq))

    async def held(self, since: Since, state: StoreState) -> Held:
        """What a device holds that sends ``since``: of a stamp and of a time the store knows the publication."""
        if isinstance(since, Stamp):
            stamp = since
            named = await self.ask(None, lambda reader: _named(stamp, reader, state))
            if named is not None:
                return named
            since = stamp.time
        if not isinstance(since, datetime):
            return since
        time = since
        seq = min(await self.ask(None, lambda reader: reader.publication_at(time)), state.published_seq)
        # Where history was cut off, a time before it is too old, and may not be before the first publication.
        return HeldSince(None if seq == state.horizon_seq == 0 else seq)

    async def ask(self, question: Question | None, read: Callable[[DeltaStoreReader], R]) -> R:
        """Let a reader thread answer ``read``; the store's errors become problems."""
        with _problems_of(question):
            return await self._pool.run(read)

    async def _recent_for(self, question: Question, now_seq: int, state: StoreState) -> Recent | None:
        """What lately changed in the view asked for, where the whole answer is in it."""
        if not question.is_plain or question.limit < FEW_ROWS or now_seq < touched_seq(question.scope, state):
            return None
        key, view = view_name(question.scope, now_seq, state), _view(question, now_seq, state)

        def read(reader: DeltaStoreReader) -> Recent:
            with metrics.READ_SECONDS.time():
                return reader.recent(view, generation=state.generation)

        recent = self._recent.kept(key)
        if recent is None and self._pool.is_local:
            # Over sooner than a change of threads.
            with _problems_of(question):
                recent = self._pool.run_here(read)
            self._recent.keep(key, recent)
        elif recent is None:
            recent = await self._recent.get(key, lambda: self.ask(question, read))
        return None if recent.start_of(question.anchors[0].seq) is None else recent


@contextmanager
def _problems_of(question: Question | None) -> Iterator[None]:
    """The store's errors as problems."""
    try:
        yield
    except HistoryExpiredError:
        raise cursor_expired(question.scope if question else ()) from None
    except PageExpiredError:
        # On a first page it means that the store was replaced this very moment: asking again will do.
        if question is None or question.after is None:
            raise store_unavailable() from None
        raise page_expired("Its publication is no longer kept in full.") from None
    except StoreUnavailableError as error:
        raise store_unavailable(error) from None


def read_rows(
    reader: DeltaStoreReader, parts: list[Part], now: View, generation: str, limit: int, after: Position | None
) -> tuple[list[DeltaRow], Position | None]:
    """One page of a question, whose parts follow each other in the order of objects."""
    rows: list[DeltaRow] = []
    for part in parts:
        if after is not None and (after.object, after.row_key) >= (part.objects[-1], LAST_ROW_KEY):
            continue
        if len(rows) == limit:
            return rows, Position(part.objects[0], -1)
        found, position = reader.page(
            part.was,
            now,
            part.filter,
            generation=generation,
            limit=limit - len(rows),
            after=after,
            or_later=part.or_later,
        )
        rows += found
        if position is not None:
            return rows, position
    return rows, None


def _named(stamp: Stamp, reader: DeltaStoreReader, state: StoreState) -> int | None:
    """The publication that a stamp is from, also one that this process has not seen yet."""

    def candidates(kind: StampKind) -> list[int]:
        end = stamp.time + MILLISECOND
        if kind is StampKind.PUBLISHED:
            kept = reader.publications_made(stamp.time, end)
        else:
            kept = reader.publications_as_of(stamp.time, end)
        return [*kept, *range(state.published_seq + 1, state.published_seq + 1 + STAMPS_AHEAD)]

    return named_publication(stamp, candidates, state)


def _view(question: Question, now_seq: int, state: StoreState) -> View:
    return View(keys_of(question.scope, state), now_seq)


def _page_key(question: Question, now_seq: int, state: StoreState, coding: str | None) -> tuple[object, ...]:
    return question, coding, *view_name(question.scope, now_seq, state)


def view_name(scope: Scope, seq: int, state: StoreState) -> ViewName:
    """Views between two changes are one and the same, and so are the answers."""
    return state.generation, scope, min(touched_seq(scope, state), seq)
