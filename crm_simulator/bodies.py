"""What the bodies of control calls have in common."""

from __future__ import annotations

import random
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from crm_simulator.crm import Crm, Touched
from crm_simulator.lookup import ChangeError, NoSuchRecordError
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


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Change(Body):
    """A change of records. Its events may be late: stamped some time ago, or visible only after some time."""

    event_age_seconds: float = Field(default=0, ge=0)
    event_delay_seconds: float = Field(default=0, ge=0)

    def carry_out(self, crm: Crm) -> Touched:
        """Raises :class:`ChangeError`."""
        raise NotImplementedError

    def text(self, crm: Crm) -> str:
        """A sentence for the list of recent actions."""
        raise NotImplementedError


def wire(object_name: str, fields: Fields) -> dict[str, str | None]:
    """Fields in wire form; a value of the wrong type is refused here, as a user's form would."""
    kind = OBJECTS[object_name]
    wired: dict[str, str | None] = {}
    for name, value in fields.items():
        if name not in kind.by_name:
            raise ChangeError(f"{object_name} has no field {name}")
        try:
            wired[name] = canonical(kind.by_name[name].type, value) if value else None
        except ValueError as error:
            raise ChangeError(f"{object_name}.{name}: {error}") from error
    return wired


def territory_id(crm: Crm, id_or_name: str) -> str:
    table = crm.tables["Territory"]
    if table.live(id_or_name) is not None:
        return id_or_name
    for record in table.referring("TerritoryName", id_or_name):
        if record.deleted_with is None:
            return record.id
    raise NoSuchRecordError(f"there is no territory {id_or_name!r}")


def share_of_territory(crm: Crm, id_or_name: str, share: float, seed: int) -> list[str]:
    """Ids of some of a territory's accounts: at least one, if there are any; the seed decides which."""
    table = crm.tables["Account"]
    ids: set[str] = table.indexed("TerritoryId", territory_id(crm, id_or_name)) or set()
    live = sorted(id_ for id_ in ids if table.live(id_) is not None)
    count = round(len(live) * share) or min(1, len(live))
    return sorted(random.Random(seed).sample(live, count))  # noqa: S311 - made to be repeatable


def territory_name(crm: Crm, id_or_name: str) -> str:
    table = crm.tables["Territory"]
    return table.get(table.records[territory_id(crm, id_or_name)], "TerritoryName") or id_or_name


def named(crm: Crm, object_name: str, id_: str) -> str:
    return f"{object_name.lower()} {crm.label(object_name, crm.tables[object_name].records[id_])}"


def silently(events: bool) -> str:
    return "" if events else ", without events"
