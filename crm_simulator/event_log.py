"""The bodies of control calls about the event log itself: events of any kind and writer, and their removal."""

from __future__ import annotations

from pydantic import Field, model_validator

from crm_simulator.bodies import Change, Fields, ObjectName, named, wire
from crm_simulator.crm import Crm, DeletedItem, Touched
from crm_simulator.lookup import NoSuchRecordError, live_record

_MAX_EVENTS = 100_000


class ChildChange(Change):
    """A change of a child that is known by the log only: a note, an address, a team member of a record.

    ``child`` is the name the log has for it, which is not unique (``Note``, ``User``, ``Address``). ``fields`` are
    what changes with it in the record itself, without moving the record's own stamps.
    """

    object: ObjectName
    id: str
    child: str
    child_id: str | None = None
    event: str = "WriteRecordUpdated"
    fields: Fields = Field(default_factory=dict)

    def carry_out(self, crm: Crm) -> Touched:
        record = live_record(crm, self.object, self.id)
        touched = Touched()
        touched.add(self.object, self.id)
        crm.alter(self.object, record, wire(self.object, self.fields))
        crm.log(touched, self.event, self.object, record, (self.child, self.child_id or next(crm.ids)))
        return touched

    def text(self, crm: Crm) -> str:
        return f"{self.event} of a {self.child} of {named(crm, self.object, self.id)}"


class WriteEvents(Change):
    """Events as they are given, whatever they say; ``times`` of them with one and the same stamp."""

    object_name: str
    object_id: str
    event_name: str
    child_name: str | None = None
    child_id: str | None = None
    times: int = Field(default=1, ge=1, le=_MAX_EVENTS)

    def carry_out(self, crm: Crm) -> Touched:
        values = {
            "ObjectName": self.object_name,
            "ObjectId": self.object_id,
            "EventName": self.event_name,
            "ChildName": self.child_name,
            "ChildId": self.child_id,
        }
        touched = Touched()
        with crm.clock.held():
            for _ in range(self.times):
                crm.write_event(touched, values)
        return touched

    def text(self, crm: Crm) -> str:
        return f"Wrote {self.times} events {self.event_name} of {self.object_name}"


class PicklistEdit(Change):
    """A pick list is edited: one event for each of the fields that share it, all with the list's id."""

    fields: int = Field(default=3, ge=1, le=100)

    def carry_out(self, crm: Crm) -> Touched:
        event = WriteEvents(
            object_name="Picklist", object_id=next(crm.ids), event_name="WriteRecordUpdated", times=self.fields
        )
        return event.carry_out(crm)

    def text(self, crm: Crm) -> str:
        return f"Edited a pick list that {self.fields} fields share"


class WriteDeletedItem(Change):
    """An entry of the Deleted Items list as it is given: of any type, and with whatever it shows as its date."""

    type: str
    object_id: str
    shown_date: str | None = None

    def carry_out(self, crm: Crm) -> Touched:
        crm.deleted_items[self.object_id] = DeletedItem(
            id=next(crm.ids), object_name="", object_id=self.object_id, type=self.type, name="",
            deleted_at=crm.now(), deleted_by="", external_system_id=None, shown_date=self.shown_date,
        )  # fmt: skip
        crm.version += 1
        return Touched()

    def text(self, crm: Crm) -> str:
        return f"Listed a deleted {self.type}"


class RemoveEvents(Change):
    """Another integration deletes events: those with the ids given, the newest ones, or all about one record."""

    ids: list[str] | None = None
    newest: int | None = Field(default=None, ge=1)
    object_id: str | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> RemoveEvents:
        if sum(choice is not None for choice in (self.ids, self.newest, self.object_id)) != 1:
            raise ValueError("say which events: `ids`, `newest` or `object_id`")
        return self

    def carry_out(self, crm: Crm) -> Touched:
        log = crm.tables["ModificationTracking"]
        if self.object_id is not None:
            ids = [event.id for event in log.referring("ObjectId", self.object_id)]
        else:
            ids = self.ids if self.ids is not None else list(log.records)[-(self.newest or 0) :]
        if missing := [id_ for id_ in ids if id_ not in log.records]:
            raise NoSuchRecordError(f"there is no event {missing[0]!r}")
        touched = Touched()
        for id_ in ids:
            log.purge(log.records[id_])
            touched.add("ModificationTracking", id_)
        crm.version += 1
        return touched

    def text(self, crm: Crm) -> str:
        return "Deleted events from the log"
