"""The Insert, Update, Delete and Execute operations of the v2.0 services."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from crm_simulator import changes, faults
from crm_simulator.crm import Crm, Touched
from crm_simulator.kinds import ObjectType
from crm_simulator.lookup import ChangeError, NoSuchRecordError, live_record
from crm_simulator.records import Record
from crm_simulator.schema import AUDIT, PROTECTED
from crm_simulator.soap import answer, cells, child, children, column, local
from crm_simulator.values import written

_ARGUMENTS = frozenset({"LOVLanguageMode", "ViewMode", "Echo"})
_EVENT_FIELDS = ("ObjectName", "ObjectId", "EventName")

Write = Callable[[ObjectType, etree._Element, bool], str]


class Writes:
    """Carries out write requests row by row; the caller holds the CRM's lock."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._by_name: dict[str, Write] = {"Insert": self._insert, "Update": self._update, "Delete": self._delete}

    def answer(self, kind: ObjectType, operation: str, request: etree._Element, tagged: bool = False) -> str:
        """The whole answer envelope: audit fields of each row. Raises :class:`faults.SoapFault`."""
        unknown = next(
            (found for found in children(request) if local(found) not in _ARGUMENTS | {f"ListOf{kind.name}"}), None
        )
        if unknown is not None:
            raise faults.unknown_element(local(unknown), kind.name)
        rows = child(request, f"ListOf{kind.name}")
        if rows is None or not children(rows):
            raise faults.malformed(f"there is no ListOf{kind.name} with rows")
        columns = [column(field.name, field.type, self._crm.getter(kind, field.name)) for field in AUDIT]
        content = ""
        for row in children(rows):
            if local(row) != kind.name:
                raise faults.unknown_element(local(row), kind.name)
            self._crm.spend(f"{kind.name}{operation}")
            try:
                id_ = self._write(operation, row)(kind, row, tagged)
            except NoSuchRecordError as error:
                raise faults.wrapped(kind.name, "SBL-EAI-04378", str(error)) from error
            except ChangeError as error:
                raise faults.wrapped(kind.name, "SBL-DAT-00510", str(error)) from error
            record = self._crm.tables[kind.name].records[id_]
            content += f"<{kind.name}>{cells(record, columns)}</{kind.name}>"
        name = f"ListOf{kind.name}"
        listed = f'<{name} xmlns="{kind.data_namespace}">{content}</{name}>'
        return answer(f"{kind.name}{operation}_Output", kind.namespace(tagged), listed)

    def _write(self, operation: str, row: etree._Element) -> Write:
        name = (row.get("operation") or "").capitalize() if operation == "Execute" else operation
        if name not in self._by_name:
            raise faults.malformed("a row of an Execute request needs an operation: insert, update or delete")
        return self._by_name[name]

    def _insert(self, kind: ObjectType, row: etree._Element, tagged: bool) -> str:
        fields = self._fields(kind, row, tagged)
        if kind.name == "ModificationTracking" and (
            missing := [name for name in _EVENT_FIELDS if not fields.get(name)]
        ):
            raise ChangeError(f"an event needs {missing[0]}")
        return self._done("inserted", kind, changes.insert(self._crm, kind.name, fields))

    def _update(self, kind: ObjectType, row: etree._Element, tagged: bool) -> str:
        record = self._record(kind, row)
        expected = child(row, "ModId")
        if expected is not None and expected.text and expected.text != self._crm.tables[kind.name].get(record, "ModId"):
            changed = "The record was changed by another user"
            raise faults.ObjectFault(("SBL-DAT-00523", changed), ("SBL-EAI-04401", changed))
        touched = changes.update(self._crm, kind.name, record.id, self._fields(kind, row, tagged))
        return self._done("updated", kind, touched, record.id)

    def _delete(self, kind: ObjectType, row: etree._Element, tagged: bool) -> str:
        record = self._record(kind, row)
        if kind.name == "User":
            raise faults.wrapped(kind.name, "SBL-EAI-04421", "Users cannot be deleted")
        if kind.name == "ModificationTracking":
            self._crm.tables[kind.name].hide(record, record.id)
            self._crm.version += 1
            return record.id
        return self._done("deleted", kind, changes.delete(self._crm, kind.name, record.id), record.id)

    def _done(self, verb: str, kind: ObjectType, touched: Touched, id_: str = "") -> str:
        id_ = id_ or touched.ids[kind.name][0]
        if kind.name != "ModificationTracking":
            label = self._crm.label(kind.name, self._crm.tables[kind.name].records[id_])
            self._crm.remember(f"Web service {verb} {kind.name} {label}", touched)
        return id_

    def _record(self, kind: ObjectType, row: etree._Element) -> Record:
        key = child(row, "Id")
        if key is None or not key.text:
            raise faults.ObjectFault(("SBL-EAI-04397", f"No user key can be used for the {kind.name}: give its Id"))
        record = live_record(self._crm, kind.name, key.text.strip())
        if not self._crm.sight.sees(kind.name, record):
            raise NoSuchRecordError(f"there is no {kind.name} {record.id!r}")
        return record

    def _fields(self, kind: ObjectType, row: etree._Element, tagged: bool) -> dict[str, str | None]:
        """The fields a row sets; those the CRM keeps itself are passed over."""
        fields: dict[str, str | None] = {}
        for element in children(row):
            name = local(element)
            field = kind.by_element(tagged).get(name)
            if field is None:
                raise faults.unknown_element(name, kind.name)
            if field.stored and name not in PROTECTED:
                fields[field.name] = written(field.type, element.text)
        return fields
