"""A page that one record makes unreadable, read without that record.

An illegal character or an endless text in one record spoils the whole answer, and some records make the CRM answer with
a fault. Their ids can still be read. So the page is read again by its ids, in halves: what cannot be read even by
itself is put aside by its id, and everything else goes on. An answer that the network damaged comes whole that way.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

from orchestration.catalog import Link
from orchestration.crm.errors import CrmAnswerError, CrmError, CrmTooHeavy
from orchestration.crm.queries import ID, Query, any_of
from orchestration.crm.requests import MAX_PAGE_SIZE_ROWS, MAX_VALUES_A_QUERY
from orchestration.crm.rows import Answer, Defect, Row
from orchestration.crm.session import Effort

logger = logging.getLogger(__name__)

WHOLE_ROW = "(whole row)"
"""What a defect names where no single field can be blamed."""
MOST_POISON_ROWS = 5
"""More unreadable rows on one page are no fault of records."""

Ask = Callable[[Query, int, int, Effort], Answer]
Unreadable = (CrmAnswerError, CrmTooHeavy)


def page_by_ids(ask: Ask, query: Query, start_row: int, page_size: int, error: CrmError) -> Answer:
    """The page whose reading ended in ``error``, row by row where need be; raises that error where none can be blamed.

    Costs one operation for the ids, and about two for each halving.
    """
    try:
        named = ask(dataclasses.replace(query, fields=()), start_row, page_size, Effort.ONCE)
    except CrmError:
        raise error from None
    search = _Search(ask, query, error)
    if len(named.ids) == 1:
        search.put_aside(named.ids[0], error)
    else:
        for start in range(0, len(named.ids), MAX_VALUES_A_QUERY):
            search.read(named.ids[start : start + MAX_VALUES_A_QUERY])
    seen = {row.id for row in search.rows} | {defect.row_id for defect in search.defects}
    # Listed a moment ago, so nothing says that they are gone.
    for row_id in named.ids:
        if row_id not in seen:
            search.defects.append(Defect(query.object.name, row_id, ID, "listed, but not returned"))
    page = dataclasses.replace(named.page, rows=search.rows, quarantined=[*named.page.quarantined, *search.defects])
    return Answer(page, named.ids, search.unfinished)


class _Search:
    def __init__(self, ask: Ask, query: Query, error: CrmError) -> None:
        self._ask, self._query, self._error = ask, query, error
        self._aside = 0
        self.rows: list[Row] = []
        self.defects: list[Defect] = []
        self.unfinished: dict[str, list[Link]] = {}

    def read(self, ids: Sequence[str]) -> None:
        """Half and half again; a single row gets every chance before it is blamed."""
        alone = len(ids) == 1
        query = dataclasses.replace(self._query, searchspec=any_of(ID, ids))
        try:
            answer = self._ask(query, 0, MAX_PAGE_SIZE_ROWS, Effort.LAST if alone else Effort.ONCE)
        except Unreadable as error:
            if alone:
                self.put_aside(ids[0], error)
                return
            middle = len(ids) // 2
            self.read(ids[:middle])
            self.read(ids[middle:])
            return
        asked = set(ids)
        self.rows += [row for row in answer.page.rows if row.id in asked]
        self.defects += answer.page.quarantined
        self.unfinished |= answer.unfinished

    def put_aside(self, row_id: str, error: CrmError) -> None:
        self._aside += 1
        if self._aside > MOST_POISON_ROWS:
            raise self._error
        logger.warning("%s %s cannot be read and is put aside: %s", self._query.object.name, row_id, error)
        self.defects.append(Defect(self._query.object.name, row_id, WHOLE_ROW, f"unreadable: {error}"))
