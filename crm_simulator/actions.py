"""The bodies of the control API's changes, each of which knows how to carry itself out."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from crm_simulator import changes
from crm_simulator.changes import ChangeError, NoSuchRecordError
from crm_simulator.crm import Crm, Touched
from crm_simulator.schema import OBJECTS, RECORD_TYPES
from crm_simulator.values import canonical


def _known_object(name: Any) -> Any:
    if name not in RECORD_TYPES:
        raise ValueError(f"there is no object {name!r}; there are {', '.join(RECORD_TYPES)}")
    return name


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


ObjectName = Annotated[str, BeforeValidator(_known_object)]
Fields = dict[str, Annotated[str | None, BeforeValidator(_as_text)]]
Sides = Literal["both", "contact", "account", "none"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Advance(_Body):
    """Move the server's clock on."""

    advance_seconds: float = Field(ge=0, le=10 * 365 * 86_400)


class Realign(_Body):
    """Move a share of a territory's accounts, or chosen accounts, to another territory (None: to no territory)."""

    source: str | None = Field(default=None, alias="from")
    to: str | None
    share: float | None = Field(default=None, gt=0, le=1)
    accounts: list[str] | None = None
    seed: int = 0
    events: bool = True

    @model_validator(mode="after")
    def _one_choice(self) -> Realign:
        if (self.accounts is None) == (self.source is None or self.share is None):
            raise ValueError("say which accounts: either `accounts`, or `from` and `share`")
        return self

    def carry_out(self, crm: Crm) -> Touched:
        target = _territory(crm, self.to) if self.to is not None else None
        return changes.realign(crm, self._chosen(crm), target, self.events)

    def text(self, crm: Crm) -> str:
        what = f"{len(self.accounts or ())} accounts"
        if self.share is not None:
            what = f"{self.share * 100:.4g} % of {_territory_name(crm, str(self.source))}"
        where = _territory_name(crm, self.to) if self.to is not None else "no territory"
        return f"Re-aligned {what} to {where}{_silently(self.events)}"

    def _chosen(self, crm: Crm) -> list[str]:
        if self.accounts is not None:
            return list(dict.fromkeys(self.accounts))
        table = crm.tables["Account"]
        ids: set[str] = table.indexed("TerritoryId", _territory(crm, self.source or "")) or set()
        live = sorted(id_ for id_ in ids if table.live(id_) is not None)
        count = round(len(live) * (self.share or 0)) or min(1, len(live))
        return sorted(random.Random(self.seed).sample(live, count))  # noqa: S311 - made to be repeatable


class Insert(_Body):
    """A new record."""

    object: ObjectName
    fields: Fields
    events: bool = True

    def carry_out(self, crm: Crm) -> Touched:
        return changes.insert(crm, self.object, _wire(self.object, self.fields), self.events)

    def text(self, crm: Crm) -> str:
        return f"Inserted {self.object}{_silently(self.events)}"


class Update(_Body):
    """Save some fields of a record; an event with an age shows up after others with later stamps."""

    object: ObjectName
    id: str
    fields: Fields
    events: bool = True
    event_age_seconds: int = Field(default=0, ge=0)

    def carry_out(self, crm: Crm) -> Touched:
        fields = _wire(self.object, self.fields)
        return changes.update(crm, self.object, self.id, fields, self.events, self.event_age_seconds)

    def text(self, crm: Crm) -> str:
        fields = ", ".join(self.fields) or "nothing"
        return f"Changed {fields} of {_named(crm, self.object, self.id)}{_silently(self.events)}"


class Delete(_Body):
    """Delete a record softly; ``events`` says which of the two delete events are written."""

    object: ObjectName
    id: str
    events: Literal["both", "delete", "predelete", "none"] = "both"

    def carry_out(self, crm: Crm) -> Touched:
        return changes.delete(crm, self.object, self.id, self.events)

    def text(self, crm: Crm) -> str:
        return f"Deleted {_named(crm, self.object, self.id)}{_silently(self.events != 'none')}"


class Restore(_Body):
    """Take a record out of the Deleted Items list."""

    object: ObjectName
    id: str
    events: bool = True

    def carry_out(self, crm: Crm) -> Touched:
        return changes.restore(crm, self.object, self.id, self.events)

    def text(self, crm: Crm) -> str:
        return f"Restored {_named(crm, self.object, self.id)}{_silently(self.events)}"


class Merge(_Body):
    """Merge two accounts or contacts."""

    object: ObjectName
    survivor: str
    duplicate: str
    events: bool = True

    def carry_out(self, crm: Crm) -> Touched:
        return changes.merge(crm, self.object, self.survivor, self.duplicate, self.events)

    def text(self, crm: Crm) -> str:
        duplicate = _named(crm, self.object, self.duplicate)
        return f"Merged {duplicate} into {_named(crm, self.object, self.survivor)}{_silently(self.events)}"


class Link(_Body):
    """Link a contact to an account."""

    contact: str
    account: str
    sides: Sides = "both"

    def carry_out(self, crm: Crm) -> Touched:
        return changes.link(crm, self.contact, self.account, self.sides)

    def text(self, crm: Crm) -> str:
        return self._sentence(crm, "Linked", "to")

    def _sentence(self, crm: Crm, verb: str, preposition: str) -> str:
        contact, account = _named(crm, "Contact", self.contact), _named(crm, "Account", self.account)
        return f"{verb} {contact} {preposition} {account}{_silently(self.sides != 'none')}"


class Unlink(Link):
    """Take a link away."""

    def carry_out(self, crm: Crm) -> Touched:
        return changes.unlink(crm, self.contact, self.account, self.sides)

    def text(self, crm: Crm) -> str:
        return self._sentence(crm, "Unlinked", "from")


def _wire(object_name: str, fields: Fields) -> dict[str, str | None]:
    """Fields in wire form; a value of the wrong type is refused here, as a user's form would."""
    kind = OBJECTS[object_name]
    wire: dict[str, str | None] = {}
    for name, value in fields.items():
        if name not in kind.by_name:
            raise ChangeError(f"{object_name} has no field {name}")
        try:
            wire[name] = canonical(kind.by_name[name].type, value) if value else None
        except ValueError as error:
            raise ChangeError(f"{object_name}.{name}: {error}") from error
    return wire


def _territory(crm: Crm, id_or_name: str) -> str:
    table = crm.tables["Territory"]
    if table.live(id_or_name) is not None:
        return id_or_name
    for record in table.referring("TerritoryName", id_or_name):
        if record.deleted_with is None:
            return record.id
    raise NoSuchRecordError(f"there is no territory {id_or_name!r}")


def _territory_name(crm: Crm, id_or_name: str) -> str:
    table = crm.tables["Territory"]
    return table.get(table.records[_territory(crm, id_or_name)], "TerritoryName") or id_or_name


def _named(crm: Crm, object_name: str, id_: str) -> str:
    return f"{object_name.lower()} {crm.label(object_name, crm.tables[object_name].records[id_])}"


def _silently(events: bool) -> str:
    return "" if events else ", without events"
