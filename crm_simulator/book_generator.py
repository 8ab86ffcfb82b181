"""Generated books: a book for each patch of the market, a few of them under one parent."""

from __future__ import annotations

from crm_simulator.crm import Crm
from crm_simulator.generated_rows import Rows
from crm_simulator.records import Record

_BOOKS_A_PARENT = 10
_TYPES = ("Territory", "Territory", "Product Line")
_SECOND_BOOK_SHARE = 0.1


def generate_books(crm: Crm, count: int, seed: int) -> None:
    """Add books to a filled CRM and put each account, and its contacts, in one or two of them.

    All the other rows are the same with and without books.
    """
    rows = Rows(crm, seed)
    books: list[str] = []
    parent_id = ""
    for number in range(count):
        if number % _BOOKS_A_PARENT == 0:
            parent_id = _book(rows, f"Books {number // _BOOKS_A_PARENT + 1:02}", "Group", None)
        books.append(_book(rows, f"B{number + 1:03}", rows.random.choice(_TYPES), parent_id))
    accounts = crm.tables["Account"]
    contacts = crm.tables["Contact"]
    for id_ in accounts.live_ids:
        chosen = [rows.random.choice(books)]
        if count > 1 and rows.random.random() < _SECOND_BOOK_SHARE:
            chosen.append(rows.random.choice([book for book in books if book not in chosen]))
        _enter(rows, "Account", accounts.records[id_], chosen)
        for contact in contacts.referring("AccountId", id_):
            _enter(rows, "Contact", contact, chosen[:1])
    rows.load()


def _book(rows: Rows, name: str, type_: str, parent_id: str | None) -> str:
    group = parent_id is None
    return rows.add(
        "Book",
        {
            "BookName": name,
            "BookType": type_,
            "CanContainDataFlag": str(not group).lower(),
            "ParentBookId": parent_id,
        },
    )


def _enter(rows: Rows, object_name: str, record: Record, books: list[str]) -> None:
    for index, book in enumerate(books):
        primary = str(index == 0).lower()
        rows.add(f"{object_name}Book", {f"{object_name}Id": record.id, "BookId": book, "Primary": primary})
