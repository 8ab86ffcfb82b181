"""Books of business: a tree of books, and rows that say which records are in which book.

Assigning a record to books changes its book rows; the record itself, its number and date included, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from crm_simulator.crm import Crm, TimedBook, Touched
from crm_simulator.lookup import ChangeError, NoSuchRecordError, live_record
from crm_simulator.records import Record
from crm_simulator.schema import BOOK_ROWS

# How events tell of it: of the pair, of the row, or not at all.
Telling = Literal["associate", "write", "none"]
Mode = Literal["add", "replace_type", "replace_all", "replace_book", "remove", "remove_all"]


def find_book(crm: Crm, id_or_name: str) -> str:
    """The id of a live book. Raises :class:`NoSuchRecordError`."""
    table = crm.tables["Book"]
    named = [book.id for book in table.referring("BookName", id_or_name)]
    for id_ in (id_or_name, *named):
        if table.live(id_) is not None:
            return id_
    raise NoSuchRecordError(f"there is no book {id_or_name!r}")


def with_sub_books(crm: Crm, book_id: str) -> frozenset[str]:
    """A book and all below it."""
    found = {book_id}
    waiting = [book_id]
    while waiting:
        below = {book.id for book in crm.tables["Book"].referring("ParentBookId", waiting.pop())} - found
        found |= below
        waiting += below
    return frozenset(found)


def books_of(crm: Crm, object_name: str, id_: str) -> list[str]:
    """Ids of the live books a record is in."""
    rows = _rows(crm, object_name, id_)
    return sorted(book for book in rows if crm.tables["Book"].live(book) is not None)


def members(crm: Crm, object_name: str, books: Iterable[str]) -> set[str]:
    """Ids of an object's records in any of the books."""
    if object_name not in BOOK_ROWS:
        return set()
    table = crm.tables[BOOK_ROWS[object_name]]
    rows = (row for book in books for row in table.referring("BookId", book))
    return {table.get(row, f"{object_name}Id") or "" for row in rows}


def assign(
    crm: Crm,
    object_name: str,
    ids: list[str],
    mode: Mode,
    book: str | None = None,
    replaced: str | None = None,
    events: Telling = "associate",
) -> Touched:
    """The batch tool: ``book`` comes (or, by remove, goes); ``replaced`` is the one that replace_book takes away."""
    records = [live_record(crm, object_name, id_) for id_ in ids]
    book_id = find_book(crm, book) if book is not None else None
    replaced_id = find_book(crm, replaced) if replaced is not None else None
    if book_id is None and mode != "remove_all":
        raise ChangeError(f"{mode} needs a book")
    if replaced_id is None and mode == "replace_book":
        raise ChangeError("replace_book needs the book to replace")
    touched = Touched()
    for record in records:
        there = set(_rows(crm, object_name, record.id))
        wanted = set() if mode in ("remove", "remove_all") else {book_id or ""}
        if mode == "replace_book" and replaced_id not in there:
            continue
        going: dict[Mode, set[str]] = {
            "add": set(),
            "replace_type": {id_ for id_ in there if book_id and _type(crm, id_) == _type(crm, book_id)},
            "replace_all": there,
            "replace_book": {replaced_id or ""},
            "remove": {book_id or ""},
            "remove_all": there,
        }
        for id_ in sorted(there & going[mode] - wanted):
            leave(crm, touched, object_name, record, id_, events)
        for id_ in sorted(wanted - there):
            enter(crm, touched, object_name, record, id_, events)
    return touched


def enter(
    crm: Crm,
    touched: Touched,
    object_name: str,
    record: Record,
    book_id: str,
    events: Telling,
    primary: bool = False,
) -> None:
    """Put a record into a book. Its first book is its primary one; a new primary book takes over."""
    rows = _rows(crm, object_name, record.id)
    if book_id in rows:
        return
    child = BOOK_ROWS[object_name]
    if primary:
        for row in rows.values():
            crm.alter(child, row, {"Primary": "false"})
    first = primary or not rows
    first = primary or not rows
    fields: dict[str, str | None] = {f"{object_name}Id": record.id, "BookId": book_id, "Primary": str(first).lower()}
    row = crm.new_record(child, fields)
    touched.add(object_name, record.id)
    if events == "associate":
        crm.log(touched, "Associate", object_name, record, (child, book_id))
    elif events == "write":
        crm.log(touched, "WriteRecordNew", object_name, record, (child, row.id))


def leave(crm: Crm, touched: Touched, object_name: str, record: Record, book_id: str, events: Telling) -> None:
    """Take a record out of a book."""
    row = _rows(crm, object_name, record.id).get(book_id)
    if row is None:
        return
    child = BOOK_ROWS[object_name]
    crm.tables[child].purge(row)
    crm.version += 1
    touched.add(object_name, record.id)
    if events == "associate":
        crm.log(touched, "Dissociate", object_name, record, (child, book_id))
    elif events == "write":
        crm.log(touched, "DeleteRecord", object_name, record, (child, row.id))


def run_procedure(crm: Crm, events: Telling) -> Touched:
    """What the server does by itself at some hour: begin and end the time-based memberships that are due."""
    touched = Touched()
    now = crm.now()
    waiting, crm.timed_books = crm.timed_books, []
    for timed in waiting:
        record = crm.tables[timed.object_name].live(timed.record_id)
        if record is None:
            continue
        if timed.end is not None and timed.end <= now:
            leave(crm, touched, timed.object_name, record, timed.book_id, events)
            continue
        if not timed.begun and (timed.start or now) <= now:
            enter(crm, touched, timed.object_name, record, timed.book_id, events, timed.primary)
            timed.begun = True
        if timed.end is not None or not timed.begun:
            crm.timed_books.append(timed)
    return touched


def schedule(crm: Crm, timed: TimedBook) -> Touched:
    """Note a time-based membership; nothing else changes before the procedure runs."""
    live_record(crm, timed.object_name, timed.record_id)
    if timed.start is not None and timed.end is not None and timed.end <= timed.start:
        raise ChangeError("the membership ends before it starts")
    crm.timed_books.append(timed)
    return Touched()


def drop_doubles(crm: Crm, object_name: str, id_: str) -> None:
    """After a merge: one row a book, and one primary book."""
    table = crm.tables[BOOK_ROWS[object_name]]
    kept: set[str] = set()
    rows = table.referring(f"{object_name}Id", id_)
    for row in sorted(rows, key=lambda row: table.get(row, "Primary") != "true"):
        book_id = table.get(row, "BookId") or ""
        if book_id in kept:
            table.purge(row)
            continue
        if kept:
            crm.alter(table.kind.name, row, {"Primary": "false"})
        kept.add(book_id)


def _rows(crm: Crm, object_name: str, id_: str) -> dict[str, Record]:
    """A record's book rows by the book's id."""
    table = crm.tables[BOOK_ROWS[object_name]]
    return {table.get(row, "BookId") or "": row for row in table.referring(f"{object_name}Id", id_)}


def _type(crm: Crm, book_id: str) -> str | None:
    table = crm.tables["Book"]
    return table.get(table.records[book_id], "BookType")
