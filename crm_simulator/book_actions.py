"""The bodies of control calls about books: batch assignment, and time-based assignment with its procedure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from crm_simulator import books
from crm_simulator.bodies import Change, named, silently
from crm_simulator.books import Mode, Telling
from crm_simulator.crm import Crm, TimedBook, Touched
from crm_simulator.values import stamp

Owner = Literal["Account", "Contact"]


class AssignBooks(Change):
    """The batch tool. ``book`` and, for replace_book, the ``replaced`` one are ids or names."""

    object: Owner = "Account"
    ids: Annotated[list[str], Field(min_length=1)]
    mode: Mode
    book: str | None = None
    replaced: str | None = None
    events: Telling = "associate"

    def carry_out(self, crm: Crm) -> Touched:
        return books.assign(crm, self.object, self.ids, self.mode, self.book, self.replaced, self.events)

    def text(self, crm: Crm) -> str:
        return f"Books of {len(self.ids)} {self.object} rows: {self.mode}{silently(self.events != 'none')}"


class TimedAssignment(Change):
    """A membership from ``start`` (None: at once) to ``end`` (None: for good), as the procedure carries it out."""

    object: Owner = "Account"
    id: str
    book: str
    start: datetime | None = None
    end: datetime | None = None
    primary: bool = False

    def carry_out(self, crm: Crm) -> Touched:
        book_id = books.find_book(crm, self.book)
        timed = TimedBook(self.object, self.id, book_id, _stamp(self.start), _stamp(self.end), self.primary)
        return books.schedule(crm, timed)

    def text(self, crm: Crm) -> str:
        return f"Scheduled a book of {named(crm, self.object, self.id)}"


class BookProcedure(Change):
    """The server's own procedure begins and ends the memberships that are due."""

    events: Telling = "associate"

    def carry_out(self, crm: Crm) -> Touched:
        return books.run_procedure(crm, self.events)

    def text(self, crm: Crm) -> str:
        return f"Book procedure ran{silently(self.events != 'none')}"


def _stamp(moment: datetime | None) -> str | None:
    """The wire form; a time without a zone is UTC."""
    if moment is None:
        return None
    return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
