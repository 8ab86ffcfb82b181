"""Which rows a query finds and in what order, by the cheapest index; the last results are kept for the next page."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crm_simulator.books import members
from crm_simulator.crm import Crm
from crm_simulator.records import Record, Table
from crm_simulator.searchspec import Comparison, Joined, Node, conjuncts, predicate, typed

_KEPT_RESULTS = 32
_ROTATION = 7919  # a prime: pages of an unsorted query start elsewhere each time


@dataclass(frozen=True)
class Sort:
    field: str
    descending: bool


_Key = tuple[str, Node, tuple[Sort, ...], frozenset[str] | None]


@dataclass(frozen=True)
class Page:
    """The rows of one page. ``total`` is the number of rows of the whole result."""

    records: list[Record]
    total: int
    last: bool


class Finder:
    """Answers queries over a :class:`Crm`, whose lock the caller holds."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._results: OrderedDict[_Key, Sequence[str]] = OrderedDict()
        self._results_version = -1
        self._unsorted_queries = 0

    def page(
        self,
        object_name: str,
        node: Node | None,
        sorts: tuple[Sort, ...],
        start: int,
        size: int,
        books: frozenset[str] | None = None,
    ) -> Page:
        """One page of what the user may see, in ``books`` only if given. Raises :class:`SearchSpecError`.

        Without a sort, each request sees the rows in another order.
        """
        table = self._crm.tables[object_name]
        ids = self._ids(table, node, sorts, books)
        total = len(ids)
        if sorts:
            chosen: Iterable[str] = ids[start : start + size]
        else:
            self._unsorted_queries += 1
            chosen = _shuffled(ids, self._unsorted_queries, start, size)
        return Page([table.records[id_] for id_ in chosen], total, start + size >= total)

    def children(self, records: list[Record], table: Table, node: Node | None, sorts: tuple[Sort, ...]) -> list[Record]:
        """The rows of a child list, filtered and sorted; a few, so nothing is kept of them."""
        if node is not None:
            kind = table.kind
            keep = predicate(typed(node, kind), kind, lambda name: self._crm.getter(kind, name))
            records = [record for record in records if keep(record)]
        if sorts:
            return self._sorted(table, records, sorts)
        self._unsorted_queries += 1
        ids = [record.id for record in records]
        return [table.records[id_] for id_ in _shuffled(ids, self._unsorted_queries, 0, len(ids))]

    def _ids(
        self, table: Table, node: Node | None, sorts: tuple[Sort, ...], books: frozenset[str] | None
    ) -> Sequence[str]:
        everything = node is None and books is None and not self._crm.sight.limited
        if everything and sorts in ((), (Sort("Id", descending=False),)):
            return table.live_ids  # type: ignore[no-any-return]
        if self._results_version != self._crm.version:
            self._results.clear()
            self._results_version = self._crm.version
        node = typed(node, table.kind) if node is not None else Joined("AND", ())
        key = (table.kind.name, node, sorts, books)
        ids = self._results.get(key)
        if ids is None:
            found = self._matching(table, node)
            if books is not None:
                inside = members(self._crm, table.kind.name, books)
                found = [record for record in found if record.id in inside]
            ids = [record.id for record in self._sorted(table, found, sorts)]
            self._results[key] = ids
            if len(self._results) > _KEPT_RESULTS:
                self._results.popitem(last=False)
        else:
            self._results.move_to_end(key)
        return ids

    def _matching(self, table: Table, node: Node) -> list[Record]:
        keep = predicate(node, table.kind, lambda name: self._crm.getter(table.kind, name))
        rows = (table.live(id_) for id_ in _candidates(table, node))
        found = [record for record in rows if record is not None and keep(record)]
        sight = self._crm.sight
        return [record for record in found if sight.sees(table.kind.name, record)] if sight.limited else found

    def _sorted(self, table: Table, records: list[Record], sorts: tuple[Sort, ...]) -> list[Record]:
        records = sorted(records, key=lambda record: record.id)
        for sort in reversed(sorts):
            if sort.field == "Id":
                records.sort(key=lambda record: record.id, reverse=sort.descending)
                continue
            read = self._crm.getter(table.kind, sort.field)
            numeric = table.kind.by_name[sort.field].type in ("int", "decimal")

            def key(record: Record, read: Any = read, numeric: bool = numeric) -> tuple[bool, Any]:
                value = read(record)
                return (value is not None, (Decimal(value or 0) if numeric else value or ""))

            records.sort(key=key, reverse=sort.descending)
        return records


def _shuffled(ids: Sequence[str], turn: int, start: int, size: int) -> list[str]:
    """A slice of the ids in an order that ``turn`` decides, without building that order."""
    total = len(ids)
    if not total:
        return []
    first = turn * _ROTATION % total
    step = -1 if turn % 2 else 1
    return [ids[(first + step * index) % total] for index in range(start, min(start + size, total))]


def _candidates(table: Table, node: Node) -> Iterable[str]:
    """The smallest set of ids that an index offers and that holds every match."""
    terms = conjuncts(node)
    best: Iterable[str] = table.live_ids
    count = len(table.live_ids)
    for term in terms:
        ids = _indexed(table, term)
        if ids is not None and len(ids) < count:
            best, count = ids, len(ids)
    low, high = _modified_bounds(terms)
    if low is not None or high is not None:
        # The second part of the key is an id, so "" comes before and "~" after all of a second.
        first = table.by_modified.bisect_left((low, "")) if low is not None else 0
        last = table.by_modified.bisect_right((high, "~")) if high is not None else len(table.by_modified)
        if last - first < count:
            best = [id_ for _, id_ in table.by_modified.islice(first, max(first, last))]
    return best


def _indexed(table: Table, node: Node) -> set[str] | None:
    if isinstance(node, Comparison):
        if node.operator != "=" or node.literal is None:
            return None
        return {node.literal} if node.field == "Id" else table.indexed(node.field, node.literal)
    if node.operator == "AND":
        return None
    union: set[str] = set()
    for term in node.terms:
        ids = _indexed(table, term)
        if ids is None:
            return None
        union |= ids
    return union


def _modified_bounds(terms: Iterable[Node]) -> tuple[str | None, str | None]:
    """Inclusive bounds that hold for every match (exclusive ones are left to the predicate)."""
    low: str | None = None
    high: str | None = None
    for term in terms:
        if not isinstance(term, Comparison) or term.field != "ModifiedDate" or term.literal is None:
            continue
        if term.operator in (">", ">=", "="):
            low = max(low or "", term.literal)
        if term.operator in ("<", "<=", "="):
            high = min(high or "~", term.literal)
    return low, high
