"""The QueryPage operation of the v2.0 services."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from crm_simulator import faults
from crm_simulator.allotments import refresh_allotments
from crm_simulator.books import find_book, with_sub_books
from crm_simulator.crm import Crm
from crm_simulator.kinds import MAX_PAGE_ROWS, QUERY_PAGE_ROWS, ChildList, ObjectType
from crm_simulator.lookup import NoSuchRecordError
from crm_simulator.query import Finder, Sort
from crm_simulator.records import Record
from crm_simulator.schema import OBJECTS
from crm_simulator.searchspec import Joined, Node, SearchSpecError, parse, parse_template, renamed
from crm_simulator.soap import Column, answer, cells, child, children, column, local, text_of

_ARGUMENTS = frozenset(
    {"BookName", "BookId", "IncludeSubBooks", "LOVLanguageMode", "ViewMode", "NamedSearchSpec"},
)


@dataclass(frozen=True)
class _Level:
    """What is asked of a list: the parent's, or a child list's with the ``child`` it is."""

    row: str
    columns: list[Column]
    node: Node | None
    sorts: tuple[Sort, ...]
    start: int
    size: int
    count: bool
    children: list[tuple[ChildList, _Level]]


class QueryPages:
    """Answers QueryPage requests; the caller holds the CRM's lock."""

    def __init__(self, crm: Crm, finder: Finder) -> None:
        self._crm = crm
        self._finder = finder

    def answer(self, kind: ObjectType, request: etree._Element, tagged: bool = False) -> str:
        """The whole answer envelope; ``tagged`` with the company's names. Raises :class:`faults.SoapFault`."""
        _refuse_hidden(self._crm, kind)
        if kind.name == "ServiceAllotment":
            refresh_allotments(self._crm)
        rows_element: etree._Element | None = None
        for element in children(request):
            name = local(element)
            if name == f"ListOf{kind.name}":
                rows_element = element
            elif name not in _ARGUMENTS:
                raise faults.unknown_element(name, kind.name)
        if rows_element is None:
            raise faults.malformed(f"there is no ListOf{kind.name}")
        try:
            level = self._level(kind, kind.name, rows_element, tagged)
            if level.count and kind.name == "Activity":
                raise faults.wrapped(kind.name, "SBL-DAT-00407", "Unable to count the rows of a forward only cursor")
            page = self._finder.page(kind.name, level.node, level.sorts, level.start, level.size, self._books(request))
            rows = "".join(self._row(record, level) for record in page.records)
        except SearchSpecError as error:
            raise faults.wrapped(kind.name, "SBL-DAT-00481", str(error)) from error
        self._crm.spend(f"{kind.name}QueryPage", 1 + len(page.records) * len(level.children))
        content = (
            f'<ListOf{kind.name} xmlns="{kind.data_namespace}" lastpage="{_boolean(page.last)}"'
            f"{_count(level, page.total)}>{rows}</ListOf{kind.name}>"
        )
        return answer(f"{kind.name}QueryPage_Output", kind.namespace(tagged), content)

    def _row(self, record: Record, level: _Level) -> str:
        inner = cells(record, level.columns)
        for child_list, child_level in level.children:
            inner += self._child_list(record, child_list, child_level)
        return f"<{level.row}>{inner}</{level.row}>"

    def _child_list(self, parent: Record, child_list: ChildList, level: _Level) -> str:
        table = self._crm.tables[child_list.target]
        sight = self._crm.sight
        linked = [record for record in table.referring(child_list.key, parent.id) if sight.shows_link(record, table)]
        found = self._finder.children(linked, table, level.node, level.sorts)
        shown = found[level.start : level.start + level.size]
        last = _boolean(level.start + level.size >= len(found))
        rows = "".join(f"<{level.row}>{cells(record, level.columns)}</{level.row}>" for record in shown)
        return f'<{child_list.list} lastpage="{last}"{_count(level, len(found))}>{rows}</{child_list.list}>'

    def _books(self, request: etree._Element) -> frozenset[str] | None:
        """The books that the request limits its answer to."""
        named = text_of(child(request, "BookId")) or text_of(child(request, "BookName"))
        if not named:
            return None
        try:
            book_id = find_book(self._crm, named)
        except NoSuchRecordError:
            book_id = ""
        book = self._crm.tables["Book"].live(book_id)
        if book is None or not self._crm.sight.sees("Book", book):
            raise faults.ObjectFault(("SBL-EAI-04471", "The book does not exist, or may not be used by this user"))
        below = text_of(child(request, "IncludeSubBooks")).lower() in ("true", "1", "y")
        return with_sub_books(self._crm, book_id) if below else frozenset({book_id})

    def _level(self, kind: ObjectType, row_name: str, rows: etree._Element, tagged: bool) -> _Level:
        unknown = next((found for found in children(rows) if local(found) != row_name), None)
        if unknown is not None:
            raise faults.unknown_element(local(unknown), row_name)
        row = child(rows, row_name)
        if row is None:
            raise faults.malformed(f"there is no {row_name} in {local(rows)}")
        size = _number(rows, "pagesize", QUERY_PAGE_ROWS, 1)
        if size > MAX_PAGE_ROWS:
            raise faults.ObjectFault(("SBL-EAI-04447", f"The page size of {size} is more than {MAX_PAGE_ROWS}"))
        names = kind.by_element(tagged)
        asked: set[str] = set()
        criteria: list[Node] = []
        sorts: list[tuple[int, Sort]] = []
        nested: list[tuple[ChildList, _Level]] = []
        if searchspec := (row.get("searchspec") or "").strip():
            criteria.append(renamed(parse(searchspec), names))
        for element in children(row):
            name = local(element)
            if name in kind.child_by_list:
                child_list = kind.child_by_list[name]
                nested.append((child_list, self._level(OBJECTS[child_list.target], child_list.row, element, tagged)))
                continue
            if name not in names:
                raise faults.unknown_element(name, row_name)
            name = names[name].name
            asked.add(name)
            if criterion := text_of(element):
                criteria.append(parse_template(name, criterion))
            if element.get("sortorder") or element.get("sortsequence"):
                descending = (element.get("sortorder") or "ASC").upper().startswith("DESC")
                sorts.append((_number(element, "sortsequence", 1, 0), Sort(name, descending)))
        return _Level(
            row=row_name,
            columns=[
                column(field.element(tagged), field.type, self._crm.getter(kind, field.name))
                for field in kind.fields
                if field.name in asked and field.name not in self._crm.sight.fields[kind.name]
            ],
            node=criteria[0] if len(criteria) == 1 else Joined("AND", tuple(criteria)) if criteria else None,
            sorts=tuple(sort for _, sort in sorted(sorts, key=lambda entry: entry[0])),
            start=_number(rows, "startrownum", 0, 0),
            size=size,
            count=(rows.get("recordcountneeded") or "").strip().lower() in ("true", "1"),
            children=nested,
        )


def _refuse_hidden(crm: Crm, kind: ObjectType) -> None:
    answer = crm.sight.objects.get(kind.name)
    if answer == "denied":
        raise faults.access_denied(kind.name)
    if answer == "unavailable":
        raise faults.unavailable(kind.name)


def _number(element: etree._Element, attribute: str, default: int, minimum: int) -> int:
    text = (element.get(attribute) or "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < minimum:
        raise faults.malformed(f"{attribute} is not a number of at least {minimum}")
    return int(text)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _count(level: _Level, total: int) -> str:
    return f' recordcount="{total}"' if level.count else ""
