"""A CRM in memory with the client's methods, to test stages without HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestration.crm.client import CrmClient, Found
from orchestration.crm.queries import Query, Shape
from orchestration.crm.requests import MAX_PAGE_SIZE_ROWS
from orchestration.crm.rows import Defect, Page, Row
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
    empty_answers: dict[str, int] = field(default_factory=dict)
    """By service: so many of the next queries get a sound page without any row."""
    hidden: set[str] = field(default_factory=set)
    """Rows that answers lack."""
    unreadable: dict[str, frozenset[str]] = field(default_factory=dict)
    """By row: fields and lists that cannot be understood."""

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

    def pause(self, seconds: float) -> None:
        """Nothing takes time here."""

    def read_ids(self, obj: Shape, ids: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        wanted = list(ids)
        self.asked.append((obj.name, tuple(wanted)))
        return self._found(obj, wanted, wanted, [i for i in wanted if i in self.tables.get(obj.service, {})], witnesses)

    def read_where(self, obj: Shape, field: str, values: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        wanted = list(values)
        rows = self.tables.get(obj.service, {})
        return self._found(obj, wanted, [], [i for i, row in rows.items() if row.get(field) in wanted], witnesses)

    def _found(
        self, obj: Shape, values: list[str], ids: list[str], found: list[str], witnesses: Sequence[str]
    ) -> Found:
        """As from one query with one witness."""
        witness = [row_id for row_id in witnesses if row_id not in ids][:1]
        there = self.in_sight(
            obj.service, [*found, *(row_id for row_id in witness if row_id in self.tables.get(obj.service, {}))]
        )
        silent: frozenset[str] = frozenset() if set(there).issuperset(witness) else frozenset(values)
        rows = [self._row(obj, i) for i in found if i in there]
        return Found(rows, [Defect(obj.name, r.id, name, "bad") for r in rows for name in sorted(r.unreadable)], silent)

    def in_sight(self, service: str, ids: Iterable[str]) -> list[str]:
        """Those of some rows that the next answer has."""
        if self.empty_answers.get(service):
            self.empty_answers[service] -= 1
            return []
        return [row_id for row_id in ids if row_id not in self.hidden]

    def matching(self, query: Query) -> list[str]:
        rows = self.tables.get(query.object.service, {})
        if "ModifiedDate" not in query.searchspec:
            return self.in_sight(query.object.service, rows)
        bounds = [part.split("'")[0] for part in query.searchspec.split("'")[1::2]]
        witness = [bounds.pop()] if "[Id]" in query.searchspec else []
        low = datetime.fromisoformat(bounds[0])
        high = datetime.fromisoformat(bounds[1]) if len(bounds) > 1 else datetime.max.replace(tzinfo=UTC)
        undated = "IS NULL" in query.searchspec

        def fits(modified: datetime | None) -> bool:
            return undated if modified is None else low <= modified < high

        found = [i for i, row in rows.items() if fits(row["ModifiedDate"]) or i in witness]
        return self.in_sight(query.object.service, found)

    def _row(self, obj: Shape, row_id: str) -> Row:
        fields = dict(self.tables[obj.service][row_id])
        links = fields.pop("_links", {})
        raw = {name: str(value) for name, value in fields.items() if value is not None}
        return Row(row_id, fields, links, raw, self.unreadable.get(row_id, frozenset()))
