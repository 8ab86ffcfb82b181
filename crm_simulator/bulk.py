"""The bodies of control calls that change many records at once: imports, batch tools and the assignment engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from crm_simulator import assignment, changes
from crm_simulator.bodies import (
    Change,
    Fields,
    ObjectName,
    share_of_territory,
    silently,
    territory_id,
    territory_name,
    wire,
)
from crm_simulator.changes import DeleteEvents, Stamps
from crm_simulator.crm import Crm, Touched
from crm_simulator.lookup import live_record

_MAX_ROWS = 100_000
Ids = Annotated[list[str], Field(min_length=1, max_length=_MAX_ROWS)]


class Import(Change):
    """Rows with an ``Id`` are changed, others are new; all get one and the same stamp."""

    object: ObjectName
    rows: Annotated[list[Fields], Field(min_length=1, max_length=_MAX_ROWS)]
    events: bool = True
    stamps: Stamps = "all"

    def carry_out(self, crm: Crm) -> Touched:
        rows = [(row.get("Id"), wire(self.object, {k: v for k, v in row.items() if k != "Id"})) for row in self.rows]
        for id_, fields in rows:
            changes.check(crm, self.object, fields, new=not id_)
        _check_live(crm, self.object, [id_ for id_, _ in rows if id_])
        touched = Touched()
        with crm.clock.held():
            for id_, fields in rows:
                if id_:
                    touched += changes.update(crm, self.object, id_, fields, self.events, self.stamps)
                else:
                    touched += changes.insert(crm, self.object, fields, self.events)
        return touched

    def text(self, crm: Crm) -> str:
        return f"Imported {len(self.rows)} rows of {self.object}{silently(self.events)}"


class BatchUpdate(Change):
    """The mass update tool: the same fields in many records, one save each."""

    object: ObjectName
    ids: Ids
    fields: Fields
    events: bool = True
    stamps: Stamps = "all"

    def carry_out(self, crm: Crm) -> Touched:
        fields = wire(self.object, self.fields)
        _check_live(crm, self.object, self.ids)
        touched = Touched()
        for id_ in self.ids:
            touched += changes.update(crm, self.object, id_, fields, self.events, self.stamps)
        return touched

    def text(self, crm: Crm) -> str:
        return f"Changed {', '.join(self.fields)} of {len(self.ids)} {self.object} rows{silently(self.events)}"


class BatchDelete(Change):
    """The batch delete tool: one delete each."""

    object: ObjectName
    ids: Ids
    events: DeleteEvents = "both"

    def carry_out(self, crm: Crm) -> Touched:
        _check_live(crm, self.object, self.ids)
        touched = Touched()
        for id_ in self.ids:
            touched += changes.delete(crm, self.object, id_, self.events)
        return touched

    def text(self, crm: Crm) -> str:
        return f"Deleted {len(self.ids)} {self.object} rows{silently(self.events != 'none')}"


class Assign(Change):
    """Hand records to the assignment engine, which gives them ``to`` (a territory) and, if named, an ``owner``.

    Without ``after_seconds`` its second step waits for a call of ``assign/finish``.
    """

    object: Literal["Account", "Opportunity"] = "Account"
    ids: Ids | None = None
    source: str | None = Field(default=None, alias="from")
    share: float | None = Field(default=None, gt=0, le=1)
    seed: int = 0
    to: str
    owner: str | None = None
    after_seconds: float | None = Field(default=None, ge=0)
    events: Literal["both", "first", "second", "none"] = "both"

    @model_validator(mode="after")
    def _one_choice(self) -> Assign:
        if (self.ids is None) == (self.source is None or self.share is None):
            raise ValueError("say which records: either `ids`, or `from` and `share`")
        if self.source is not None and self.object != "Account":
            raise ValueError("a share of a territory is one of accounts")
        return self

    def carry_out(self, crm: Crm) -> Touched:
        ids = self.ids or share_of_territory(crm, self.source or "", self.share or 0, self.seed)
        outcome = wire(self.object, {"TerritoryId": territory_id(crm, self.to)})
        if self.owner is not None:
            outcome["OwnerId"] = self.owner
        changes.check(crm, self.object, outcome)
        return assignment.submit(crm, self.object, ids, outcome, self.after_seconds, self.events)

    def text(self, crm: Crm) -> str:
        return f"Submitted {self.object} rows to the assignment engine, for {territory_name(crm, self.to)}"


class FinishAssignments(Change):
    """The assignment engine does its second step for all records that wait for it."""

    def carry_out(self, crm: Crm) -> Touched:
        return assignment.finish(crm)

    def text(self, crm: Crm) -> str:
        return "Assignment engine completed what was submitted"


def _check_live(crm: Crm, object_name: str, ids: list[str]) -> None:
    """A tool with a wrong id in its list changes nothing."""
    for id_ in ids:
        live_record(crm, object_name, id_)
