"""Answers to rows: a hardened walk that refuses what is not a complete page.

zeep's own reader builds an object for each element (ten times the CPU) and lets some damage through in silence: bad
dates become None. Here the page must be whole or it is an error, and a bad value puts its row aside.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from lxml import etree

from orchestration.catalog import CatalogObject, Link
from orchestration.crm.envelope import children_named, flag_of, list_element, local_name
from orchestration.crm.errors import CrmAnswerError
from orchestration.crm.queries import ID, Query
from orchestration.crm.values import CONVERTERS, Value


@dataclass(frozen=True)
class Row:
    """One row. ``values`` has an entry for each field asked for but ``Id``, typed; decimals are JSON number text.

    ``links``: parents' ids of each child list asked for, sorted, each once. ``raw``: the fields that came, as on the
    wire. ``unreadable``: fields and child lists that came and could not be understood; their values are None, their
    links empty.
    """

    id: str
    values: dict[str, Value]
    links: dict[str, tuple[str, ...]]
    raw: dict[str, str]
    unreadable: frozenset[str] = frozenset()

    @property
    def mod_id(self) -> int | None:
        """The row's modification counter, where asked for and given."""
        value = self.values.get("ModId")
        return value if isinstance(value, int) else None

    @property
    def modified_date(self) -> datetime | None:
        """UTC, where asked for and given."""
        value = self.values.get("ModifiedDate")
        return value if isinstance(value, datetime) else None


@dataclass(frozen=True)
class Defect:
    """Something in a row that cannot be understood: the row is put aside, or comes without that. Holds no values."""

    object: str
    row_id: str | None
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.object} {self.row_id or '(no Id)'}: {self.field} is {self.reason}"


@dataclass(frozen=True)
class Page:
    """A page of an answer: ``received`` rows came, from ``start_row`` (0-based) on.

    Each is in ``rows`` or ``quarantined``, but for rows that vanished while their child lists were paged and, in
    :meth:`CrmClient.read`, those of an earlier page. Rows of catalog objects that can be understood in part are in
    both. ``record_count`` is None unless asked for and given.
    """

    rows: list[Row]
    last: bool
    record_count: int | None
    quarantined: list[Defect]
    start_row: int
    received: int


@dataclass(frozen=True)
class Answer:
    """A page as it came: its ids in the CRM's order, and the child lists, by row id, that hold more than was sent."""

    page: Page
    ids: list[str]
    unfinished: dict[str, list[Link]]

    @property
    def received(self) -> int:
        return self.page.received

    @property
    def last(self) -> bool:
        return self.page.last


def read_answer(root: etree._Element, query: Query, start_row: int, page_size: int) -> Answer:
    """The page in an envelope. Raises :class:`CrmAnswerError` for any structural damage."""
    service = query.object.service
    rows_element = list_element(root, service)
    last = flag_of(rows_element.get("lastpage"))
    if last is None:
        raise CrmAnswerError("the answer does not say whether it is the last page")
    count_text = rows_element.get("recordcount")
    if count_text is not None and not (count_text.isascii() and count_text.isdigit()):
        raise CrmAnswerError("the record count is no number")
    record_count = None if count_text is None else int(count_text)

    rows: list[Row] = []
    quarantined: list[Defect] = []
    ids: list[str] = []
    unfinished: dict[str, list[Link]] = {}
    if any(local_name(element.tag) != service for element in rows_element):
        raise CrmAnswerError("an unexpected element among the rows")
    reader = _RowReader(query)
    for wire in reader.wire_rows(rows_element):
        row, defects, more = reader.read(wire)
        quarantined += defects
        if row is not None:
            rows.append(row)
            if more:
                unfinished[row.id] = more
        row_id = defects[0].row_id if row is None else row.id
        if row_id is not None:
            ids.append(row_id)
    received = len(rows_element)
    if received > page_size:
        raise CrmAnswerError(f"{received} rows came where {page_size} were asked for")
    if not last and not received:
        raise CrmAnswerError("an empty page that is not the last")
    if last and record_count is not None and received and record_count > start_row + received:
        raise CrmAnswerError(f"the last page ends at row {start_row + received} of {record_count}")
    return Answer(Page(rows, last, record_count, quarantined, start_row, received), ids, unfinished)


class _FieldNames(dict[str, str]):
    """The fields asked for, by their tags, of those met so far. Raises KeyError for any other tag."""

    def __init__(self, asked: Container[str]) -> None:
        super().__init__()
        self._asked = asked

    def __missing__(self, tag: str) -> str:
        name = local_name(tag)
        if name not in self._asked:
            raise KeyError(name)
        self[tag] = name
        return name


class _WireRow(NamedTuple):
    """Of one row: the fields asked for, the child lists, and the fields that are damaged, each with the reason."""

    raw: dict[str, str]
    lists: Mapping[str, etree._Element] = MappingProxyType({})
    damaged: Mapping[str, str] = MappingProxyType({})


_COUNT_BELOW_ROWS = etree.XPath("count(*/*) + count(*/*/*)")


class _RowReader:
    def __init__(self, query: Query) -> None:
        types = query.types
        self._object = query.object.name
        # An entry of a log means something only as a whole.
        self._in_parts = isinstance(query.object, CatalogObject)
        self._asked = types.keys()
        self._names = _FieldNames(self._asked)
        self._strings = [name for name, kind in types.items() if kind not in CONVERTERS and name != ID]
        self._typed = [(name, CONVERTERS[kind]) for name, kind in types.items() if kind in CONVERTERS]
        self._links = query.links
        self._lists = {link.list for link in query.links}

    def wire_rows(self, rows: etree._Element) -> Iterable[_WireRow]:
        plain = None if self._links else self._plain(rows)
        return map(_WireRow, plain) if plain is not None else map(self._sorted_out, rows)

    def read(self, wire: _WireRow) -> tuple[Row | None, list[Defect], list[Link]]:
        """The row, None where it is put aside; what cannot be understood in it; and the lists that hold more."""
        raw, lists, damaged = wire
        row_id = raw.get(ID, "").strip()
        if not row_id or ID in damaged:
            return None, [Defect(self._object, row_id or None, ID, damaged.get(ID, "missing"))], []
        unreadable, called = dict(damaged), dict[str, str]()
        values: dict[str, Value] = {**raw}
        del values[ID]
        for name in self._strings:
            if not raw.get(name):
                values[name] = None
        for name, convert in self._typed:
            try:
                values[name] = convert(text) if (text := raw.get(name, "").strip()) else None
            except ValueError as error:
                unreadable.setdefault(name, str(error))
        links: dict[str, tuple[str, ...]] = {}
        more: list[Link] = []
        for link in self._links:
            parents, complete = read_links(lists.get(link.list), link)
            if parents is None:
                unreadable[link.list] = "missing in a link"
                called[link.list] = f"{link.list}.{link.field}"
                parents = []
            links[link.list] = tuple(sorted({*parents, *links.get(link.list, ())}))
            if not complete:
                more.append(link)
        if not unreadable:
            return Row(row_id, values, links, raw), [], more
        defects = [Defect(self._object, row_id, called.get(name, name), why) for name, why in unreadable.items()]
        if not self._in_parts:
            return None, defects[:1], []
        for name in unreadable:
            if name in links:
                links[name] = ()
            else:
                values[name] = None
        more = [link for link in more if link.list not in unreadable]
        return Row(row_id, values, links, raw, frozenset(unreadable)), defects, more

    def _plain(self, rows: etree._Element) -> list[dict[str, str]] | None:
        """The fields of each row, if no row has anything but fields asked for, each once; None for any other page.

        Checked a page at a time, not a field at a time: no other lines of ours run as often.
        """
        names = self._names
        try:
            raws = [{names[field.tag]: field.text or "" for field in row} for row in rows]
        except KeyError:
            return None
        # A field given twice makes an entry too few, an element in a field an element too many: they never cancel out.
        return raws if sum(map(len, raws)) == _COUNT_BELOW_ROWS(rows) else None

    def _sorted_out(self, row: etree._Element) -> _WireRow:
        """Of any row."""
        raw: dict[str, str] = {}
        lists: dict[str, etree._Element] = {}
        damaged: dict[str, str] = {}
        for child in row:
            name = local_name(child.tag)
            if name in self._asked:
                if name in raw or len(child):
                    damaged[name] = "given twice" if name in raw else "not a plain value"
                raw[name] = child.text or ""
            elif name in self._lists:
                lists[name] = child
        return _WireRow(raw, lists, damaged)


def read_links(rows: etree._Element | None, link: Link) -> tuple[list[str] | None, bool]:
    """The parent ids in a child list (None if a link names no parent), and whether the list is complete.

    A child list that is left out is an empty one, as for any blank that is not a string.
    """
    if rows is None:
        return [], True
    parents: list[str] = []
    for row in children_named(rows, link.row):
        parent = next((child.text for child in children_named(row, link.field)), None)
        if not parent or not parent.strip():
            return None, True
        parents.append(parent.strip())
    return parents, flag_of(rows.get("lastpage")) is True or (not parents and rows.get("lastpage") is None)


@dataclass(frozen=True)
class LinkSlice:
    """Part of one row's child list."""

    parents: list[str]
    last: bool

    @property
    def received(self) -> int:
        return len(self.parents)


def read_link_slice(root: etree._Element, query: Query, link: Link) -> LinkSlice | None:
    """The child list of the one row asked for, None if the row is gone."""
    rows = list_element(root, query.object.service)
    if len(rows) == 0:
        return None
    children = next(children_named(rows[0], link.list), None)
    parents, _ = read_links(children, link)
    if parents is None:
        raise CrmAnswerError(f"a link in {link.list} names no parent")
    flag = None if children is None else flag_of(children.get("lastpage"))
    if flag is False and not parents:
        raise CrmAnswerError(f"an empty part of {link.list} that is not the last")
    # Where the CRM does not say, the list ends when nothing but the row of overlap comes.
    return LinkSlice(parents, len(parents) <= 1 if flag is None else flag)
