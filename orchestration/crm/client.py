"""The CRM as the pipeline sees it: typed pages, rows by id, counts, clock and deleted items.

Thread-safe. Up to ``settings.sessions`` requests run at the same time, one a session.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType

from orchestration.crm.ahead import ReadAhead
from orchestration.crm.errors import ConfigurationError, CrmAnswerError, CrmRefused, CrmTooHeavy
from orchestration.crm.pacing import Meter
from orchestration.crm.pages import PageReader, only
from orchestration.crm.paging import pages_of, walk
from orchestration.crm.poison import page_by_ids
from orchestration.crm.pool import SessionPool
from orchestration.crm.queries import ID, Query, Shape, either, equal_to
from orchestration.crm.requests import MAX_PAGE_SIZE_ROWS, MAX_VALUES_A_QUERY, RequestFactory
from orchestration.crm.rows import Answer, Defect, Page, Row
from orchestration.crm.services import (
    DELETED_ITEMS_PAGE_ROWS,
    Clock,
    DeletedItem,
    DeletedItemsPage,
    clock_request,
    deleted_items_request,
    read_clock,
    read_deleted_items,
)
from orchestration.crm.session import Effort, Sleep
from orchestration.crm.settings import CrmSettings
from orchestration.crm.wsdl import WsdlDirectory

logger = logging.getLogger(__name__)

MIN_VALUES_A_QUERY = 10  # halving stops here
MIN_PAGE_SIZE_ROWS = 10


@dataclasses.dataclass(frozen=True)
class Found:
    """Rows looked up by id or field. An id in no list was not returned: not seen, but not proven deleted."""

    rows: list[Row]
    quarantined: list[Defect]
    unanswered: frozenset[str] = frozenset()
    """Values whose query got an answer without its witness: what such an answer lacks says nothing."""


class CrmClient:
    """One client a run. ``sleep`` is for tests. Every method may raise any :class:`CrmError`."""

    def __init__(self, settings: CrmSettings, sleep: Sleep = time.sleep) -> None:
        self._wsdls = WsdlDirectory(settings.wsdl_dir)
        self._requests = RequestFactory(self._wsdls)
        self._meter = Meter(settings.operations_budget)
        self._pool = SessionPool(settings, self._meter, sleep)
        self._pages = PageReader(self._requests, self._pool, self._meter)
        self._sessions = settings.sessions
        self._sleep = sleep
        self._executor = ThreadPoolExecutor(settings.sessions, thread_name_prefix="crm")
        self._closing = threading.Lock()

    def __enter__(self) -> CrmClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all sessions. May be called twice."""
        with self._closing:
            self._executor.shutdown(cancel_futures=True)
            self._pool.close()

    @property
    def operations_spent(self) -> int:
        """As the CRM counts: one a query, and one for each parent row returned for each child list asked for."""
        return self._meter.operations_spent

    @property
    def requests_sent(self) -> int:
        return self._meter.requests_sent

    @property
    def faults(self) -> dict[str, int]:
        """How often each fault code, and each other kind of failure, was met; retried ones too."""
        return self._meter.faults

    def check(self, obj: Shape) -> None:
        """Raise :class:`ConfigurationError` if the CRM's WSDLs lack the object or a field of it. Sends nothing."""
        self._requests.query_page(Query(obj), 0, MAX_PAGE_SIZE_ROWS)

    def query_page(
        self, query: Query, start_row: int, page_size: int = MAX_PAGE_SIZE_ROWS, count: bool = False
    ) -> Page:
        """Rows from ``start_row`` (0-based) on, at most ``page_size`` (1 to 100).

        For reading everything use :meth:`read`: adding up page sizes loses rows when others vanish.
        """
        answer = self._pages.ask(query, start_row, page_size, count=count)
        return self._pages.with_whole_links(query, answer.page, answer)

    def read(
        self,
        query: Query,
        start_row: int = 0,
        seen: Iterable[str] = (),
        smaller_pages: bool = True,
        group_pages: int = 1,
        expected_rows: int | None = None,
        page_size: int = MAX_PAGE_SIZE_ROWS,
    ) -> Iterator[Page]:
        """All rows, each once, in pages; no row that is there throughout is lost (see :mod:`paging`).

        Where a page of ``page_size`` rows is too heavy for the CRM, ever smaller ones are asked for, down to 10, and
        those again with pauses; not so without ``smaller_pages``, for callers who can ask for less in another way. A
        row that makes its page unreadable is put aside (see :mod:`poison`).

        The query must sort by ``Id``, the only order that no edit changes. A reading that was interrupted goes on from
        ``start_row`` (0-based), given the ids ``seen`` before; those do not come again.

        Pages may come in groups: those of one are fetched in parallel sessions, but none before the first of its group
        is asked for, so that a caller who looks at the clock then knows a time before all of them. Who asks for groups
        expects a whole one at first, so the first page is fetched together with some after it; with ``expected_rows``,
        the number of rows in all as far as the caller knows, only with such as may be there.
        """
        if query.sort_field != ID:
            raise ValueError("only an order by Id survives changes between pages")
        size = page_size

        ask = partial(self._pages.ask, query)
        expected_pages = group_pages if expected_rows is None else pages_of(expected_rows - start_row, size)
        ask_ahead = ReadAhead(ask, self._executor, self._sessions, expected_pages)
        given_pages = 0

        def fetch(row: int) -> Answer:
            nonlocal size
            while True:
                try:
                    # A single page is not left to the executor, whose threads may be those that ask.
                    if group_pages == 1:
                        return ask(row, size)
                    return ask_ahead(row, size, more_pages=group_pages - 1 - given_pages % group_pages)
                except CrmTooHeavy as error:
                    if not smaller_pages:
                        raise
                    if size == MIN_PAGE_SIZE_ROWS:
                        return self._insist(query, row, size)
                    size = max(MIN_PAGE_SIZE_ROWS, size // 2)
                    logger.info("%s: trying %d rows a page: %s", query.object.service, size, error)
                except CrmAnswerError as error:
                    return page_by_ids(self._pages.ask, query, row, size, error)

        pages = walk(
            fetch,
            lambda answer: answer.ids,
            MAX_PAGE_SIZE_ROWS,
            start_row=start_row,
            seen_before=seen,
        )
        try:
            for answer, fresh in pages:
                given_pages += 1
                yield self._pages.with_whole_links(query, only(answer.page, fresh), answer)
        finally:
            ask_ahead.forget()

    def read_ids(self, obj: Shape, ids: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        """The rows with these ids, in parallel, at most 50 ids a query; fewer when that is too heavy for the CRM.

        ``witnesses`` are ids of rows known to be there. Each query asks for one of them as well, not the same in all,
        which costs no operation but for its child lists. It is not among the rows unless it was asked for.
        """
        asked = list(dict.fromkeys(ids))
        found = self._read_values(obj, ID, asked, witnesses)
        if strangers := len({row.id for row in found.rows} - set(asked)):
            raise CrmAnswerError(f"{obj.service}: {strangers} rows came that were not asked for")
        return found

    def read_where(self, obj: Shape, field: str, values: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        """The rows whose ``field`` equals any of ``values``, each once, asked for like :meth:`read_ids`.

        A witness that has one of the values itself was asked for.
        """
        return self._read_values(obj, field, list(dict.fromkeys(values)), witnesses)

    def pause(self, seconds: float) -> None:
        """Wait before asking again."""
        self._sleep(seconds)

    def count(self, query: Query) -> int | None:
        """How many rows the query has; None where the CRM cannot count them, or not in time."""
        try:
            return self.query_page(dataclasses.replace(query, fields=()), 0, page_size=1, count=True).record_count
        except CrmTooHeavy as error:
            logger.warning("%s: rows are not counted: %s", query.object.service, error)
            return None

    def deleted_items(self, since: datetime) -> list[DeletedItem]:
        """The Deleted Items list from ``since`` (aware) on; empty, with a warning, where the role may not read it."""
        size = DELETED_ITEMS_PAGE_ROWS
        try:
            offset = self.clock().offset

            def fetch(row: int) -> DeletedItemsPage:
                nonlocal size
                while True:
                    request = deleted_items_request(self._wsdls, since, offset, row, size)
                    effort = Effort.LAST if size == MIN_PAGE_SIZE_ROWS else Effort.USUAL
                    try:
                        return self._pool.call(request, lambda root, _: read_deleted_items(root, offset), effort)
                    except CrmTooHeavy as error:
                        if size == MIN_PAGE_SIZE_ROWS:
                            raise
                        size = max(MIN_PAGE_SIZE_ROWS, size // 2)
                        logger.info("Deleted Items: trying %d entries a page: %s", size, error)

            # The list is in order of time only, so entries of one second may swap places.
            pages = walk(fetch, lambda page: list(page.items), DELETED_ITEMS_PAGE_ROWS, total_order=False)
            return [page.items[key] for page, fresh in pages for key in page.items if key in fresh]
        except CrmRefused as error:
            logger.warning(
                "the Deleted Items list is not open to this user, deletes are found in other ways: %s", error
            )
            return []

    def clock(self) -> Clock:
        """The CRM's own clock: by its Time service, or where that is not to be had by an answer's Date header."""
        try:
            return self._pool.call(clock_request(self._wsdls), read_clock, Effort.LAST)
        except (ConfigurationError, CrmRefused, CrmAnswerError) as error:
            logger.warning("no Time service, the Date header is used instead: %s", error)
        date = self._pool.plain_get().date
        if date is None:
            raise CrmAnswerError("the CRM tells its time neither by its Time service nor by a Date header")
        return Clock(date, timedelta(0), date, date)

    def _insist(self, query: Query, row: int, size: int) -> Answer:
        """A page that cannot be smaller, tried until the CRM has had time to recover; then without the row at fault."""
        try:
            return self._pages.ask(query, row, size, Effort.LAST)
        except (CrmTooHeavy, CrmAnswerError) as error:
            return page_by_ids(self._pages.ask, query, row, size, error)

    def _read_values(self, obj: Shape, field: str, values: list[str], witnesses: Sequence[str]) -> Found:
        size = MAX_VALUES_A_QUERY - 1 if witnesses else MAX_VALUES_A_QUERY
        chunks = _parts(values, size)
        futures = [
            self._executor.submit(self._read_chunk, obj, field, chunk, _witness(witnesses, number, chunk))
            for number, chunk in enumerate(chunks)
        ]
        try:
            parts = [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
        # A row that changes its field meanwhile may answer two chunks: the later reading counts.
        rows = {row.id: row for part in parts for row in part.rows}
        return dataclasses.replace(_joined(parts), rows=list(rows.values()))

    def _read_chunk(self, obj: Shape, field: str, values: Sequence[str], witness: str | None) -> Found:
        terms = [equal_to(field, value) for value in values]
        if witness is not None:
            terms.append(equal_to(ID, witness))
        query = Query(obj, either(terms))
        try:
            pages = list(self.read(query, smaller_pages=False))
        except CrmTooHeavy as error:
            if len(values) > MIN_VALUES_A_QUERY:
                size = max(MIN_VALUES_A_QUERY, len(values) // 2)
                logger.info("%s: %d values at once are too many, trying %d: %s", obj.service, len(values), size, error)
                return _joined([self._read_chunk(obj, field, part, witness) for part in _parts(values, size)])
            # Rows by a field may be many a value, rows by Id are not.
            page_size = MIN_PAGE_SIZE_ROWS if field == ID else MAX_PAGE_SIZE_ROWS // 2
            pages = list(self.read(query, page_size=page_size))
        return _testified(
            Found([row for page in pages for row in page.rows], [d for page in pages for d in page.quarantined]),
            field,
            values,
            witness,
        )


def _parts(values: Sequence[str], size: int) -> list[Sequence[str]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _joined(parts: Sequence[Found]) -> Found:
    return Found(
        [row for part in parts for row in part.rows],
        [defect for part in parts for defect in part.quarantined],
        frozenset().union(*(part.unanswered for part in parts)),
    )


def _witness(witnesses: Sequence[str], number: int, values: Sequence[str]) -> str | None:
    """The witness of one query of several; none that is asked for in it anyway."""
    turned = (witnesses[(number + i) % len(witnesses)] for i in range(len(witnesses)))
    return next((row_id for row_id in turned if row_id not in values), None)


def _testified(found: Found, field: str, values: Sequence[str], witness: str | None) -> Found:
    """What was found, less the witness if it was not asked for; where it did not come, the values are unanswered."""
    if witness is None:
        return found
    if witness not in {row.id for row in found.rows} | {defect.row_id for defect in found.quarantined}:
        return dataclasses.replace(found, unanswered=frozenset(values))
    if any(row.id == witness and row.values.get(field) in values for row in found.rows):
        return found
    return Found(
        [row for row in found.rows if row.id != witness], [d for d in found.quarantined if d.row_id != witness]
    )
