"""The object catalog: one validated description of what is read, served, and how rows reach territories.

Loaded from ``objects.yaml`` beside this module, or from the file named by ``OBJECT_CATALOG``. Everything that
differs from one customer to another (fields, objects, visibility) is read from here; no other module names an
object or a field.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

DEFAULT_PATH = Path(__file__).with_name("objects.yaml")

# Asked for on every object and kept in the snapshots, but never served: they would turn each touch into an update.
AUDIT_FIELDS: Mapping[str, str] = {"ModId": "int", "ModifiedDate": "dateTime"}

TERRITORY = "territory"
"""The dimension that gives territories their names."""

_OBJECT_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


class CatalogError(ValueError):
    """The catalog cannot be used; the message names the file, the line and the reason."""


class FieldType(StrEnum):
    """The XSD types the CRM uses."""

    STRING = "string"
    BOOLEAN = "boolean"
    INT = "int"
    DECIMAL = "decimal"
    DATE = "date"
    DATE_TIME = "dateTime"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Link(_Model):
    """A child list whose rows each name one parent, for many-to-many relations."""

    list: str
    row: str
    field: str


class VisibilityPath(_Model):
    """One way in which a row reaches territories."""

    territory_field: str | None = None
    book_membership: Link | None = None
    through: str | None = None
    field: str | None = None
    link: Link | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> VisibilityPath:
        kinds = [kind for kind in (self.territory_field, self.book_membership, self.through) if kind is not None]
        if len(kinds) != 1:
            raise ValueError("a path is one of territory_field, book_membership and through")
        if self.through is None and (self.field or self.link):
            raise ValueError("only a path through a parent takes a field or a link")
        if self.through is not None and (self.field is None) == (self.link is None):
            raise ValueError("a path through a parent takes either a field or a link")
        return self


class CatalogObject(_Model):
    """One CRM object: names, fields and routes to territories."""

    name: str
    service: str
    tracked: bool = True
    dimension: bool = False
    deleted_item_types: tuple[str, ...] = ()
    name_field: str | None = None
    """Of the territories' dimension: the field with the name."""
    parent_field: str | None = None
    """Of the territories' dimension: the field with the id of the territory above."""
    visibility: tuple[VisibilityPath, ...] = ()
    fields: dict[str, FieldType] = Field(min_length=1)

    @property
    def table(self) -> str:
        """The snapshot table's name in the warehouse."""
        return self.name

    @property
    def links(self) -> tuple[Link, ...]:
        """Child lists to read with each row."""
        lists = (path.link or path.book_membership for path in self.visibility)
        return tuple(link for link in lists if link is not None)

    @property
    def link_table(self) -> str:
        """The table of this object's link rows: ``(row_id, list, parent_id)``."""
        return f"{self.name}_link"

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the objects this one becomes visible through, each once, in catalog order."""
        return tuple(dict.fromkeys(path.through for path in self.visibility if path.through))

    @property
    def way_fields(self) -> tuple[str, ...]:
        """Fields by which a row reaches a territory or a parent, each once."""
        fields = (path.territory_field or path.field for path in self.visibility)
        return tuple(dict.fromkeys(field for field in fields if field))

    @cached_property
    def members(self) -> dict[str, str]:
        """Served JSON member for each field, in order (without the leading ``<object>Id``)."""
        return {field: field[0].lower() + field[1:] for field in self.fields}

    @property
    def id_member(self) -> str:
        return f"{self.name}Id"


class Catalog:
    """All objects, parents before children."""

    def __init__(self, objects: Mapping[str, CatalogObject]) -> None:
        self._objects = dict(objects)

    def __iter__(self) -> Iterator[CatalogObject]:
        return iter(self._objects.values())

    def __getitem__(self, name: str) -> CatalogObject:
        return self._objects[name]

    def __contains__(self, name: object) -> bool:
        return name in self._objects

    @property
    def served(self) -> tuple[CatalogObject, ...]:
        """Objects that devices receive, parents first."""
        return tuple(obj for obj in self if not obj.dimension)

    @cached_property
    def by_service(self) -> dict[str, CatalogObject]:
        return {obj.service: obj for obj in self}

    def children_of(self, parent: str) -> tuple[CatalogObject, ...]:
        return tuple(obj for obj in self if parent in obj.parents)


def load_catalog(path: Path | None = None) -> Catalog:
    """Read and validate the catalog.

    ``path`` defaults to ``$OBJECT_CATALOG``, then to the shipped file. Raises :class:`CatalogError`.
    """
    if path is None:
        path = Path(os.environ.get("OBJECT_CATALOG") or DEFAULT_PATH)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CatalogError(f"{path}: cannot read the object catalog: {error.strerror}") from error
    return parse_catalog(text, source=str(path))


def parse_catalog(text: str, source: str = "catalog") -> Catalog:
    """Validate catalog text; errors carry the line they are about."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise CatalogError(f"{source}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error

    def fail(location: tuple[Any, ...], reason: str) -> CatalogError:
        return CatalogError(f"{source}:{_line_of(node, location)}: {'.'.join(map(str, location))}: {reason}")

    if not isinstance(data, dict) or set(data) != {"objects"} or not isinstance(data["objects"], dict):
        raise CatalogError(f"{source}:1: the file must hold one mapping, `objects`")
    objects: dict[str, CatalogObject] = {}
    for name, body in data["objects"].items():
        where = ("objects", name)
        if not isinstance(name, str) or not _OBJECT_NAME.match(name):
            raise fail(where, "object names are lower case letters, digits and underscores")
        if not isinstance(body, dict):
            raise fail(where, "expected a mapping")
        try:
            objects[name] = CatalogObject.model_validate({"name": name, **body})
        except ValidationError as error:
            first = error.errors()[0]
            raise fail((*where, *first["loc"]), first["msg"].removeprefix("Value error, ")) from error
    _check(objects, fail)
    return Catalog(objects)


def _check(objects: Mapping[str, CatalogObject], fail: Any) -> None:
    seen: set[str] = set()
    services: dict[str, str] = {}
    for name, obj in objects.items():
        where = ("objects", name)
        if obj.service in services:
            raise fail((*where, "service"), f"{obj.service} is already object {services[obj.service]}")
        services[obj.service] = name
        for other in objects.values():
            if other.links and other.link_table == name:
                raise fail(where, f"the warehouse keeps the links of {other.name} under this name: choose another")
        members: dict[str, str] = {obj.id_member: "Id"}
        columns = {column.lower(): column for column in ("row_id", *AUDIT_FIELDS)}
        for field, member in obj.members.items():
            if not _FIELD_NAME.match(field) or field in AUDIT_FIELDS or field == "Id":
                raise fail((*where, "fields", field), "not a field that can be listed")
            if field.lower() in columns:
                other_column = columns[field.lower()]
                raise fail((*where, "fields", field), f"the warehouse cannot tell it from its column {other_column}")
            columns[field.lower()] = field
            if member in members:
                raise fail((*where, "fields", field), f"devices would see it as {member}, as {members[member]}")
            members[member] = field
        for index, path in enumerate(obj.visibility):
            here = (*where, "visibility", index)
            if path.through is not None:
                if path.through not in objects:
                    raise fail((*here, "through"), f"unknown object {path.through}")
                if path.through == name or path.through not in seen:
                    raise fail((*here, "through"), f"{path.through} must stand before {name}: no cycles, parents first")
                if objects[path.through].dimension:
                    raise fail((*here, "through"), f"{path.through} is a dimension and reaches no territory")
            key = path.territory_field or path.field
            if key is not None and obj.fields.get(key) != FieldType.STRING:
                raise fail(here, f"{key} must be among the fields, as a string")
        for key in (obj.name_field, obj.parent_field):
            if key is not None and obj.fields.get(key) != FieldType.STRING:
                raise fail(where, f"{key} must be among the fields, as a string")
        if not obj.dimension and not obj.visibility:
            raise fail(where, "no path to a territory: devices would never see it; give it a path or `dimension: true`")
        if obj.dimension and obj.visibility:
            raise fail((*where, "visibility"), "a dimension is not served and takes no visibility")
        seen.add(name)
    if TERRITORY not in objects or objects[TERRITORY].name_field is None:
        raise fail(("objects",), "an object named `territory` with a name_field is needed, for the territories' names")
    if all(obj.dimension for obj in objects.values()):
        raise fail(("objects",), "nothing is served: every object is a dimension")


def _line_of(node: yaml.Node | None, location: tuple[Any, ...]) -> int:
    """The 1-based line of the innermost part of ``location`` that the file has."""
    line = 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if match is None:
                break
            line, node = match[0].start_mark.line + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line
