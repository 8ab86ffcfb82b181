"""The bodies of control calls about the pod itself: its clock, its limits, its purge, and what the user may see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field, model_validator

from crm_simulator.bodies import Body, ObjectName, territory_id
from crm_simulator.crm import RETENTION_DAYS, Crm, Touched
from crm_simulator.lookup import ChangeError, live_record
from crm_simulator.schema import OBJECTS
from crm_simulator.sight import Answer

_TEN_YEARS_SECONDS = 10 * 365 * 86_400


class Advance(Body):
    """Move the server's clock on or back, say how far ahead the clock is that stamps events, or move the user's zone.

    Purges what became too old, unless told otherwise: the purge runs at an hour nobody knows.
    """

    advance_seconds: float = Field(default=0, ge=-_TEN_YEARS_SECONDS, le=_TEN_YEARS_SECONDS)
    event_offset_seconds: float | None = Field(default=None, ge=-86_400, le=86_400)
    user_zone_minutes: int | None = Field(default=None, ge=-14 * 60, le=14 * 60)
    purge: bool = True

    def carry_out(self, crm: Crm) -> dict[str, Any]:
        crm.clock.advance(self.advance_seconds)
        if self.event_offset_seconds is not None:
            crm.event_offset_seconds = self.event_offset_seconds
        if self.user_zone_minutes is not None:
            crm.user_zone = timedelta(minutes=self.user_zone_minutes)
        crm.settle()
        if self.purge:
            crm.purge()
        crm.remember(f"Clock advanced by {self.advance_seconds:g} s", Touched())
        return {"server_time": crm.now(), "event_offset_seconds": crm.event_offset_seconds}


class Purge(Body):
    """The purge of events and deleted items runs now."""

    older_than_days: float = Field(default=RETENTION_DAYS, ge=0)

    def carry_out(self, crm: Crm) -> dict[str, Any]:
        crm.purge(self.older_than_days)
        crm.remember(f"Purged what was older than {self.older_than_days:g} days", Touched())
        return {"events": len(crm.tables["ModificationTracking"].records), "deleted_items": len(crm.deleted_items)}


class SetLimits(Body):
    """Limits to change; None lifts an allotment. An empty body only shows them."""

    operations: int | None = Field(default=None, ge=0)
    concurrent_requests: int | None = Field(default=None, ge=0)
    min_interval_ms: int = Field(default=0, ge=0)
    idle_seconds: int = Field(default=0, ge=1)
    login_sessions: int = Field(default=0, ge=0)
    request_kilobytes: int = Field(default=0, ge=1)

    def carry_out(self, crm: Crm) -> dict[str, Any]:
        limits = crm.meter.limits
        for name in self.model_fields_set:
            setattr(limits, name, getattr(self, name))
        return vars(limits) | {"operations_used": crm.meter.used(crm.clock.now())}


class Visibility(Body):
    """Hide rows of an object, a field of it, a whole object, or a territory's accounts and all below; or restore sight.

    ``answer`` is what queries of a hidden object get: no rows, access denied, or a service that is not available.
    With ``seen`` and nothing named, the user sees everything again.
    """

    object: ObjectName | None = None
    ids: list[str] | None = None
    field: str | None = None
    territory: str | None = None
    answer: Answer = "empty"
    seen: bool = False

    @model_validator(mode="after")
    def _one_choice(self) -> Visibility:
        if (self.ids is not None or self.field is not None) and self.object is None:
            raise ValueError("`ids` and `field` need their `object`")
        if self.ids is not None and self.field is not None:
            raise ValueError("name ids or a field, not both")
        if self.object is not None and self.territory is not None:
            raise ValueError("name an object or a territory, not both")
        if self.object is None and self.territory is None and not self.seen:
            raise ValueError("say what is to be hidden: `object`, `object` and `ids`, or `territory`")
        return self

    def carry_out(self, crm: Crm) -> dict[str, Any]:
        sight = crm.sight
        if self.territory is not None:
            change = sight.territories.discard if self.seen else sight.territories.add
            change(territory_id(crm, self.territory))
        elif self.object is not None and self.field is not None:
            if self.field not in OBJECTS[self.object].by_name:
                raise ChangeError(f"{self.object} has no field {self.field}")
            fields = sight.fields[self.object]
            (fields.discard if self.seen else fields.add)(self.field)
        elif self.object is not None and self.ids is not None:
            for id_ in self.ids:
                live_record(crm, self.object, id_)
            rows = sight.rows[self.object]
            sight.rows[self.object] = rows - set(self.ids) if self.seen else rows | set(self.ids)
        elif self.object is not None:
            sight.objects.pop(self.object, None)
            if not self.seen:
                sight.objects[self.object] = self.answer
        else:
            sight.restore()
        crm.version += 1
        crm.remember("Changed what the integration user may see", Touched())
        return {
            "rows": {name: sorted(ids) for name, ids in sight.rows.items() if ids},
            "objects": dict(sight.objects),
            "territories": sorted(sight.territories),
            "fields": {name: sorted(fields) for name, fields in sight.fields.items() if fields},
        }
