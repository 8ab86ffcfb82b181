"""What a record type is made of: fields, references, child lists, and the names all of them have on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

QUERY_PAGE_ROWS = 10
MAX_PAGE_ROWS = 100
# Company-specific WSDLs, which name custom fields by the company's own tags, have this behind the service namespace.
TAGGED_SUFFIX = "10/2004"


@dataclass(frozen=True)
class Path:
    """How a joined field is found: the ``field`` values, space separated, of the ``object`` that ``key`` names."""

    key: str
    object: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """One element of a row.

    ``type`` is an XSD type. ``ref`` names the object whose id the field holds. ``join`` marks a field that is read
    through a reference and changes with it, without a trace on this row. ``stamp`` (id field, date field) marks the
    CRM's "Full Name, date" texts. ``tag`` is the name a custom field has in the company-specific WSDLs.
    """

    name: str
    type: str = "string"
    ref: str | None = None
    join: Path | None = None
    stamp: tuple[str, str] | None = None
    tag: str | None = None

    def element(self, tagged: bool) -> str:
        """Its name on the wire."""
        return (tagged and self.tag) or self.name

    @property
    def stored(self) -> bool:
        return self.join is None and self.stamp is None


@dataclass(frozen=True)
class ChildList:
    """A list element of a row: ``rows`` of object ``target`` whose ``key`` field holds the parent's id."""

    list: str
    row: str
    target: str
    key: str


@dataclass(frozen=True)
class ObjectType:
    """One record type. ``owner`` names the field whose (account's) deletion takes the row with it."""

    name: str
    fields: tuple[Field, ...]
    children: tuple[ChildList, ...] = ()
    label: tuple[str, ...] = ()
    owner: str | None = None
    indexes: tuple[str, ...] = ()
    tracked: bool = True
    top_level: bool = True
    operations: tuple[str, ...] = ("QueryPage", "Insert", "Update", "Delete", "Execute")

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def stored(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.stored)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Where a stored field's value is in a record."""
        return {field.name: index for index, field in enumerate(self.stored)}

    @cached_property
    def references(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.ref)

    @cached_property
    def links_to(self) -> tuple[Field, ...]:
        """References to other than users: without the rows they name, a row of a child list is not shown."""
        return tuple(field for field in self.references if field.ref != "User")

    @cached_property
    def child_by_list(self) -> Mapping[str, ChildList]:
        return {child.list: child for child in self.children}

    def by_element(self, tagged: bool) -> Mapping[str, Field]:
        """Fields by their names on the wire."""
        return self._by_tag if tagged else self.by_name

    @cached_property
    def _by_tag(self) -> Mapping[str, Field]:
        return {field.element(tagged=True): field for field in self.fields}

    @property
    def service_namespace(self) -> str:
        return f"urn:crmondemand/ws/ecbs/{self.name.lower()}/"

    def namespace(self, tagged: bool) -> str:
        """The service namespace of the generic or of the company-specific WSDL."""
        return self.service_namespace + TAGGED_SUFFIX * tagged

    @property
    def query_namespace(self) -> str:
        return f"urn:/crmondemand/xml/{self.name}/Query"

    @property
    def data_namespace(self) -> str:
        return f"urn:/crmondemand/xml/{self.name}/Data"
