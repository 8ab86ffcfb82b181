"""One page of a query at a time, its rows' child lists read to their ends where the CRM cut them off."""

from __future__ import annotations

import dataclasses
import logging

from orchestration.catalog import Link
from orchestration.crm.errors import CrmAnswerError, CrmCannotCount
from orchestration.crm.pacing import Meter
from orchestration.crm.paging import walk
from orchestration.crm.pool import SessionPool
from orchestration.crm.queries import ID, LogShape, Query, any_of
from orchestration.crm.requests import MAX_PAGE_SIZE_ROWS, Request, RequestFactory
from orchestration.crm.rows import Answer, Defect, LinkSlice, Page, Row, read_answer, read_link_slice
from orchestration.crm.session import Effort

logger = logging.getLogger(__name__)


class _RowVanishedError(Exception):
    """The row was there when its page was read, and is gone now."""


class PageReader:
    """Thread-safe. Its methods may raise any :class:`CrmError`."""

    def __init__(self, requests: RequestFactory, pool: SessionPool, meter: Meter) -> None:
        self._requests = requests
        self._pool = pool
        self._meter = meter

    def ask(
        self, query: Query, start_row: int, page_size: int, effort: Effort = Effort.USUAL, count: bool = False
    ) -> Answer:
        """The page as it came, asked for again where there is damage in it, and without a count if there is none."""
        if start_row < 0 or not 1 <= page_size <= MAX_PAGE_SIZE_ROWS:
            raise ValueError(f"a page has 1 to {MAX_PAGE_SIZE_ROWS} rows and starts at row 0 or later")
        request = self._requests.query_page(query, start_row, page_size, count)
        try:
            answer = self._answer(request, query, start_row, page_size, effort)
            if answer.page.quarantined:
                # Damage on the way is gone the second time; a bad row is not.
                answer = self._answer(request, query, start_row, page_size, effort)
        except CrmCannotCount:
            if not count:
                raise
            return self.ask(query, start_row, page_size, effort)
        return answer

    def _answer(self, request: Request, query: Query, start_row: int, page_size: int, effort: Effort) -> Answer:
        answer = self._pool.call(request, lambda root, _: read_answer(root, query, start_row, page_size), effort)
        self._meter.add(answer.page.received * len({link.list for link in query.links}))
        return answer

    def with_whole_links(self, query: Query, page: Page, answer: Answer) -> Page:
        """The page, which is of that answer, with the child lists that were cut off read to their ends."""
        if not answer.unfinished:
            return page
        rows: list[Row] = []
        unreadable: list[Defect] = []
        for row in page.rows:
            try:
                for link in answer.unfinished.get(row.id, ()):
                    parents = sorted({*row.links[link.list], *self._read_links(query, row.id, link)})
                    row = dataclasses.replace(row, links={**row.links, link.list: tuple(parents)})
                rows.append(row)
            except _RowVanishedError:
                logger.info("%s %s vanished while its %s was read", query.object.name, row.id, link.list)
            except CrmAnswerError as error:
                logger.warning("%s %s is put aside: %s", query.object.name, row.id, error)
                unreadable.append(Defect(query.object.name, row.id, link.list, f"unreadable: {error}"))
        return dataclasses.replace(page, rows=rows, quarantined=[*page.quarantined, *unreadable])

    def _read_links(self, query: Query, row_id: str, link: Link) -> set[str]:
        shape = LogShape(query.object.name, query.object.service, {}, (link,))
        one = Query(shape, any_of(ID, [row_id]), view_mode=query.view_mode)

        def fetch(child_row: int) -> LinkSlice:
            request = self._requests.query_page(one, 0, 1, child_page=(link, child_row))
            part = self._pool.call(request, lambda root, _: read_link_slice(root, one, link), Effort.LAST)
            if part is None:
                raise _RowVanishedError
            self._meter.add(1)
            return part

        return {parent for _, fresh in walk(fetch, lambda part: part.parents, MAX_PAGE_SIZE_ROWS) for parent in fresh}


def only(page: Page, ids: set[str]) -> Page:
    """The page with the rows of these ids, each once; rows without an id stay."""
    rows = {row.id: row for row in reversed(page.rows) if row.id in ids}
    defects = {(d.row_id, d.field): d for d in page.quarantined if d.row_id in ids}
    unnamed = [defect for defect in page.quarantined if defect.row_id is None]
    return dataclasses.replace(page, rows=[*reversed(rows.values())], quarantined=[*unnamed, *defects.values()])
