"""The bodies of the control API's changes of single records, each of which knows how to carry itself out."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

from pydantic import Field, model_validator

from crm_simulator import changes, links
from crm_simulator.bodies import (
    Change,
    Fields,
    ObjectName,
    named,
    share_of_territory,
    silently,
    territory_id,
    territory_name,
    wire,
)
from crm_simulator.crm import Crm, Touched

Sides = Literal["both", "contact", "account", "none"]


class Realign(Change):
    """Move a share of a territory's accounts, or chosen accounts, to another territory (None: to no territory).

    By import, all of them get one and the same stamp.
    """

    source: str | None = Field(default=None, alias="from")
    to: str | None
    share: float | None = Field(default=None, gt=0, le=1)
    accounts: list[str] | None = None
    seed: int = 0
    by: Literal["edit", "import"] = "edit"
    events: bool = True

    @model_validator(mode="after")
    def _one_choice(self) -> Realign:
        if (self.accounts is None) == (self.source is None or self.share is None):
            raise ValueError("say which accounts: either `accounts`, or `from` and `share`")
        return self

    def carry_out(self, crm: Crm) -> Touched:
        target = territory_id(crm, self.to) if self.to is not None else None
        with crm.clock.held() if self.by == "import" else nullcontext():
            return changes.realign(crm, self._chosen(crm), target, self.events)

    def text(self, crm: Crm) -> str:
        what = f"{len(self.accounts or ())} accounts"
        if self.share is not None:
            what = f"{self.share * 100:.4g} % of {territory_name(crm, str(self.source))}"
        where = territory_name(crm, self.to) if self.to is not None else "no territory"
        return f"Re-aligned {what} to {where}{silently(self.events)}"

    def _chosen(self, crm: Crm) -> list[str]:
        if self.accounts is not None:
            return list(dict.fromkeys(self.accounts))
        return share_of_territory(crm, self.source or "", self.share or 0, self.seed)


class Insert(Change):
    """A new record."""

    object: ObjectName
    fields: Fields
    events: bool = True

    def carry_out(self, crm: Crm) -> Touched:
        return changes.insert(crm, self.object, wire(self.object, self.fields), self.events)

    def text(self, crm: Crm) -> str:
        return f"Inserted {self.object}{silently(self.events)}"


class Update(Change):
    """Save some fields of a record. ``stamps`` says which of its own stamps move with it."""

    object: ObjectName
    id: str
    fields: Fields
    events: bool = True
    stamps: changes.Stamps = "all"

    def carry_out(self, crm: Crm) -> Touched:
        return changes.update(crm, self.object, self.id, wire(self.object, self.fields), self.events, self.stamps)

    def text(self, crm: Crm) -> str:
        fields = ", ".join(self.fields) or "nothing"
        return f"Changed {fields} of {named(crm, self.object, self.id)}{silently(self.events)}"


class Delete(Change):
    """Delete a record softly; ``events`` says which of the two delete events are written. Or begin to, and cancel."""

    object: ObjectName
    id: str
    events: changes.DeleteEvents = "both"
    cancelled: bool = False
    child_events: bool = False

    def carry_out(self, crm: Crm) -> Touched:
        return changes.delete(crm, self.object, self.id, self.events, self.cancelled, self.child_events)

    def text(self, crm: Crm) -> str:
        verb = "Almost deleted" if self.cancelled else "Deleted"
        return f"{verb} {named(crm, self.object, self.id)}{silently(self.events != 'none')}"


class Restore(Change):
    """Take a record out of the Deleted Items list."""

    object: ObjectName
    id: str
    events: bool = True
    child_events: bool = False

    def carry_out(self, crm: Crm) -> Touched:
        return changes.restore(crm, self.object, self.id, self.events, self.child_events)

    def text(self, crm: Crm) -> str:
        return f"Restored {named(crm, self.object, self.id)}{silently(self.events)}"


class Merge(Change):
    """Merge two accounts or contacts."""

    object: ObjectName
    survivor: str
    duplicate: str
    events: bool = True
    told_as: changes.MergeEvents = "merge"

    def carry_out(self, crm: Crm) -> Touched:
        return changes.merge(crm, self.object, self.survivor, self.duplicate, self.events, self.told_as)

    def text(self, crm: Crm) -> str:
        duplicate = named(crm, self.object, self.duplicate)
        return f"Merged {duplicate} into {named(crm, self.object, self.survivor)}{silently(self.events)}"


class Link(Change):
    """Link a contact to an account.

    The account's event calls the contact by ``told_as``, and with ``by_link_row`` has the id of the link's own row.
    """

    contact: str
    account: str
    sides: Sides = "both"
    told_as: str = "Contact"
    by_link_row: bool = False

    def carry_out(self, crm: Crm) -> Touched:
        return links.link(crm, self.contact, self.account, self.sides, links.Telling(self.told_as, self.by_link_row))

    def text(self, crm: Crm) -> str:
        return self._sentence(crm, "Linked", "to")

    def _sentence(self, crm: Crm, verb: str, preposition: str) -> str:
        contact, account = named(crm, "Contact", self.contact), named(crm, "Account", self.account)
        return f"{verb} {contact} {preposition} {account}{silently(self.sides != 'none')}"


class Unlink(Link):
    """Take a link away."""

    def carry_out(self, crm: Crm) -> Touched:
        return links.unlink(crm, self.contact, self.account, self.sides, links.Telling(self.told_as, self.by_link_row))

    def text(self, crm: Crm) -> str:
        return self._sentence(crm, "Unlinked", "from")
