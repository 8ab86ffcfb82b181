"""What can be asked: shapes, queries and search specifications."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from orchestration.catalog import AUDIT_FIELDS, CatalogObject, FieldType, Link

ID = "Id"


class Shape(Protocol):
    """What a query reads: a :class:`CatalogObject`, or anything of that form."""

    @property
    def name(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, FieldType]: ...
    @property
    def links(self) -> tuple[Link, ...]: ...


@dataclass(frozen=True)
class LogShape:
    """A service that is read but is no object of the catalog."""

    name: str
    service: str
    fields: Mapping[str, FieldType] = field(hash=False)
    links: tuple[Link, ...] = ()


_EVENT_TEXTS = ("ObjectName", "ObjectId", "ChildName", "ChildId", "EventName", "ModificationNumber")
# What nothing depends on is read as text, whatever a pod makes of it.
EVENT_AS_TEXT = LogShape(
    name="modification_tracking",
    service="ModificationTracking",
    fields=dict.fromkeys((*_EVENT_TEXTS, "ModifiedDate"), FieldType.STRING),
)
EVENT_NAMES = replace(EVENT_AS_TEXT, fields=dict.fromkeys(("ObjectName", "ObjectId"), FieldType.STRING))
MODIFICATION_TRACKING = replace(EVENT_AS_TEXT, fields={**EVENT_AS_TEXT.fields, "ModifiedDate": FieldType.DATE_TIME})


SERVICE_ALLOTMENT = LogShape(
    name="service_allotment",
    service="ServiceAllotment",
    fields=dict.fromkeys(("Name", "Value", "CurrentUsage", "RemainingUsage"), FieldType.STRING),
)


@dataclass(frozen=True)
class Query:
    """A question to one service.

    ``fields`` narrows the answer to the named fields and no links; None asks for all the object has, with the
    audit stamps of a catalog object. ``Id`` and the sort field are always asked for. ``searchspec`` is the CRM's
    language, unescaped; see :func:`any_of` and :func:`modified`. ``book_id`` limits the answer to the rows in one book,
    without those in books below it.
    """

    object: Shape
    searchspec: str = ""
    sort_field: str = ID
    sort_descending: bool = False
    view_mode: str = "Broadest"
    fields: tuple[str, ...] | None = None
    book_id: str | None = None

    @property
    def types(self) -> dict[str, FieldType]:
        """Each field asked for, with its type, ``Id`` first. Raises KeyError for a field the object lacks."""
        known = {ID: FieldType.STRING, **self.object.fields}
        if isinstance(self.object, CatalogObject):
            known |= {name: FieldType(type_) for name, type_ in AUDIT_FIELDS.items()}
        if self.fields is None:
            return known
        return {name: known[name] for name in dict.fromkeys((ID, *self.fields, self.sort_field))}

    @property
    def links(self) -> tuple[Link, ...]:
        """Each child list asked for, once."""
        return () if self.fields is not None else tuple(dict.fromkeys(self.object.links))


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def any_of(field_name: str, values: Iterable[str]) -> str:
    """Rows whose field equals one of ``values``."""
    return either(equal_to(field_name, value) for value in values)


def equal_to(field_name: str, value: str) -> str:
    return f"[{field_name}] = {literal(value)}"


def either(terms: Iterable[str]) -> str:
    """Rows for which any term holds. Joined terms need parentheses, a lone one must have none."""
    alternatives = list(terms)
    if not alternatives:
        raise ValueError("nothing to look for")
    return alternatives[0] if len(alternatives) == 1 else " OR ".join(f"({term})" for term in alternatives)


def modified(since: datetime, until: datetime | None = None) -> str:
    """Rows whose ModifiedDate lies in [since, until), or from ``since`` on; bounds as for :func:`stamp`."""
    lower = f"[ModifiedDate] >= {literal(stamp(since))}"
    return lower if until is None else f"({lower}) AND ([ModifiedDate] < {literal(stamp(until))})"


UNDATED = "[ModifiedDate] IS NULL"
"""Rows without a ModifiedDate, which no range finds."""


def stamp(moment: datetime) -> str:
    """An aware date-time as the CRM's literals want it: UTC, whole seconds, ``Z``."""
    if moment.tzinfo is None:
        raise ValueError("a date-time without a zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
