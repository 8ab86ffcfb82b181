"""A CRM in memory with the client's methods, to test stages without HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestration.crm.client import CrmClient, Found
from orchestration.crm.queries import Query, Shape
from orchestration.crm.requests import MAX_PAGE_SIZE_ROWS
from orchestration.crm.rows import Page, Row
from orchestration.crm.services import Clock, DeletedItem

Fields = dict[str, Any]


@dataclass
class FakeCrm(CrmClient):
    """The client without its sessions. ``tables``: service -> id -> fields (typed values; links under ``_links``)."""

    now: datetime
    tables: dict[str, dict[str, Fields]] = field(default_factory=dict)
    deleted: list[DeletedItem] = field(default_factory=list)
    page_rows: int = 100
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    fail_after_pages: int | None = None
    expected: list[tuple[str, int | None]] = field(default_factory=list)

    def check(self, obj: Shape) -> None:
        """Every object is known."""

    def clock(self) -> Clock:
        return Clock(self.now, timedelta(0), self.now)

    def count(self, query: Query) -> int:
        return len(self.matching(query))

    def deleted_items(self, since: datetime) -> list[DeletedItem]:
        return [item for item in self.deleted if item.deleted_at is None or item.deleted_at >= since]

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
        if group_pages > 1:
            self.expected.append((query.object.name, expected_rows))
        ids = sorted(self.matching(query))
        known = set(seen)
        for start in range(start_row, max(len(ids), start_row + 1), self.page_rows):
            if self.fail_after_pages is not None:
                if self.fail_after_pages == 0:
                    raise ConnectionError("the CRM went away")
                self.fail_after_pages -= 1
            part = ids[start : start + self.page_rows]
            rows = [self._row(query.object, i) for i in part if i not in known]
            yield Page(rows, start + self.page_rows >= len(ids), None, [], start, len(part))

    def read_ids(self, obj: Shape, ids: Iterable[str]) -> Found:
        wanted = list(ids)
        self.asked.append((obj.name, tuple(wanted)))
        return Found([self._row(obj, i) for i in wanted if i in self.tables.get(obj.service, {})], [])

    def read_where(self, obj: Shape, field: str, values: Iterable[str]) -> Found:
        wanted = set(values)
        rows = self.tables.get(obj.service, {})
        return Found([self._row(obj, i) for i, row in rows.items() if row.get(field) in wanted], [])

    def matching(self, query: Query) -> list[str]:
        rows = self.tables.get(query.object.service, {})
        if "ModifiedDate" not in query.searchspec:
            return list(rows)
        bounds = [part.split("'")[0] for part in query.searchspec.split("'")[1::2]]
        low = datetime.fromisoformat(bounds[0])
        high = datetime.fromisoformat(bounds[1]) if len(bounds) > 1 else datetime.max.replace(tzinfo=UTC)
        return [i for i, row in rows.items() if low <= row["ModifiedDate"] < high]

    def _row(self, obj: Shape, row_id: str) -> Row:
        fields = dict(self.tables[obj.service][row_id])
        links = fields.pop("_links", {})
        raw = {name: str(value) for name, value in fields.items() if value is not None}
        return Row(row_id, fields, links, raw)
