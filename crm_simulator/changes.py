"""What users do to records, with everything that follows: events, cascades, links and the Deleted Items list.

Each function returns what it touched. The caller holds the CRM's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from crm_simulator.books import drop_doubles
from crm_simulator.crm import Crm, DeletedItem, Touched
from crm_simulator.links import follow_primary_account, mark_primary, merge_links
from crm_simulator.lookup import ChangeError, NoSuchRecordError, live_record
from crm_simulator.records import Record
from crm_simulator.schema import OBJECTS, PROTECTED, RECORD_TYPES

# What of a row's own stamps a save moves: both, the modification number only, or neither, as procedures may.
Stamps = Literal["all", "number", "none"]
# Which of the two events of a delete are written.
DeleteEvents = Literal["both", "delete", "predelete", "none"]
# A merge is told as such, or as record types without that event tell it: an update and a delete.
MergeEvents = Literal["merge", "update_and_delete"]


def insert(crm: Crm, object_name: str, fields: Mapping[str, str | None], events: bool = True) -> Touched:
    """A new record; the first id in the result is its. ``fields`` are in wire form."""
    check(crm, object_name, fields, new=True)
    touched = Touched()
    record = crm.new_record(object_name, dict(fields))
    touched.add(object_name, record.id)
    if object_name == "Contact":
        follow_primary_account(crm, record, touched)
    if events:
        crm.log(touched, "WriteRecordNew", object_name, record)
    return touched


def update(
    crm: Crm,
    object_name: str,
    id_: str,
    fields: Mapping[str, str | None],
    events: bool = True,
    stamps: Stamps = "all",
) -> Touched:
    """Save changed fields; None clears one. Without ``events`` it is as an import may be: a new date, no event."""
    record = live_record(crm, object_name, id_)
    check(crm, object_name, fields)
    touched = Touched()
    save(crm, touched, object_name, record, fields, events, stamps)
    return touched


def delete(
    crm: Crm,
    object_name: str,
    id_: str,
    events: DeleteEvents = "both",
    cancelled: bool = False,
    child_events: bool = False,
) -> Touched:
    """Delete softly. ``events``: which of the two delete events are written, both, delete, predelete or none.

    What an account owns goes with it, without entries in the Deleted Items list, and without events unless
    ``child_events`` are wanted. A ``cancelled`` delete gets no further than its first event.
    """
    record = live_record(crm, object_name, id_)
    touched = Touched()
    if events in ("both", "predelete"):
        crm.log(touched, "PreDeleteRecord", object_name, record)
    if cancelled:
        return touched
    _bury(crm, touched, object_name, record)
    if child_events:
        _log_children(crm, touched, "DeleteRecord", id_)
    if events in ("both", "delete"):
        crm.log(touched, "DeleteRecord", object_name, record)
    return touched


def restore(crm: Crm, object_name: str, id_: str, events: bool = True, child_events: bool = False) -> Touched:
    """Take a record out of the Deleted Items list, with all that went with it (of which ``child_events`` tell)."""
    table = crm.tables[object_name]
    record = table.records.get(id_)
    if record is None or record.deleted_with is None:
        raise NoSuchRecordError(f"there is no deleted {object_name} {id_!r}")
    owner = table.kind.owner
    parent_id = table.get(record, owner) if owner else None
    if parent_id is not None and crm.tables["Account"].live(parent_id) is None:
        raise ChangeError(f"its account {parent_id} is deleted: restore that first")
    if id_ not in crm.deleted_items:
        raise ChangeError(f"{object_name} {id_} is no longer among the deleted items")
    touched = Touched()
    del crm.deleted_items[id_]
    for name, kind in OBJECTS.items():
        if object_name == "Account" and kind.owner:
            for child in crm.tables[name].referring(kind.owner, id_):
                if child.deleted_with == id_:
                    crm.tables[name].reveal(child)
                    touched.add(name, child.id)
    table.reveal(record)
    touched.add(object_name, id_)
    crm.touch(object_name, record, {})
    if child_events:
        _log_children(crm, touched, "RestoreRecord", id_)
    if events:
        crm.log(touched, "RestoreRecord", object_name, record)
    return touched


def merge(
    crm: Crm,
    object_name: str,
    survivor_id: str,
    duplicate_id: str,
    events: bool = True,
    told_as: MergeEvents = "merge",
) -> Touched:
    """Make one record of two: the duplicate is deleted, and all that points to it is re-pointed without a trace."""
    if object_name not in ("Account", "Contact"):
        raise ChangeError("only accounts and contacts are merged here")
    if survivor_id == duplicate_id:
        raise ChangeError("a record cannot be merged with itself")
    survivor = live_record(crm, object_name, survivor_id)
    duplicate = live_record(crm, object_name, duplicate_id)
    touched = Touched()
    merge_links(crm, touched, object_name, survivor_id, duplicate_id)
    for name, kind in OBJECTS.items():
        for field in kind.references:
            if field.ref != object_name or name == "ContactAccount":
                continue
            for record in crm.tables[name].referring(field.name, duplicate_id):
                # A record does not become its own parent.
                crm.alter(name, record, {field.name: None if record.id == survivor_id else survivor_id})
                touched.add(name, record.id)
    drop_doubles(crm, object_name, survivor_id)
    if object_name == "Account":
        for link in crm.tables["ContactAccount"].referring("AccountId", survivor_id):
            mark_primary(crm, crm.tables["ContactAccount"].get(link, "ContactId") or "")
    else:
        mark_primary(crm, survivor_id)
    _bury(crm, touched, object_name, duplicate, alone=True)
    crm.touch(object_name, survivor, {})
    touched.add(object_name, survivor_id)
    if events and told_as == "merge":
        crm.log(touched, "MergeRecords", object_name, survivor, (object_name, duplicate_id))
    elif events:
        crm.log(touched, "WriteRecordUpdated", object_name, survivor)
        crm.log(touched, "PreDeleteRecord", object_name, duplicate)
        crm.log(touched, "DeleteRecord", object_name, duplicate)
    return touched


def realign(crm: Crm, account_ids: list[str], territory_id: str | None, events: bool = True) -> Touched:
    """Set the accounts' territory, one save each; nothing that hangs on them is touched."""
    touched = Touched()
    records = [live_record(crm, "Account", id_) for id_ in account_ids]
    if territory_id is not None:
        live_record(crm, "Territory", territory_id)
    for record in records:
        save(crm, touched, "Account", record, {"TerritoryId": territory_id}, events)
    return touched


def save(
    crm: Crm,
    touched: Touched,
    object_name: str,
    record: Record,
    fields: Mapping[str, str | None],
    events: bool = True,
    stamps: Stamps = "all",
) -> None:
    """One save of a record, whose fields are known to be right."""
    changes = dict(fields)
    if stamps == "all":
        crm.touch(object_name, record, changes)
    else:
        if stamps == "number":
            number = crm.tables[object_name].get(record, "ModId")
            changes["ModId"] = str(int(number or 0) + 1)
        crm.alter(object_name, record, changes)
    touched.add(object_name, record.id)
    if object_name == "Contact" and "AccountId" in fields:
        follow_primary_account(crm, record, touched)
    if events:
        crm.log(touched, "WriteRecordUpdated", object_name, record)


def check(crm: Crm, object_name: str, fields: Mapping[str, str | None], new: bool = False) -> None:
    """Raises :class:`ChangeError` for fields that cannot be set so, or are missing from a new record."""
    kind = OBJECTS[object_name]
    if new and (missing := [name for name in kind.label[-1:] if not fields.get(name)]):
        raise ChangeError(f"{object_name} needs {missing[0]}")
    for name, value in fields.items():
        field = kind.by_name.get(name)
        if field is None:
            raise ChangeError(f"{kind.name} has no field {name}")
        if not field.stored or name in PROTECTED:
            raise ChangeError(f"{kind.name}.{name} cannot be set: the CRM keeps it")
        if field.ref and value is not None and crm.tables[field.ref].live(value) is None:
            raise ChangeError(f"{kind.name}.{name}: there is no {field.ref} {value!r}")


def _log_children(crm: Crm, touched: Touched, event: str, parent_id: str) -> None:
    for name, ids in list(touched.ids.items()):
        for id_ in ids:
            if id_ != parent_id:
                crm.log(touched, event, name, crm.tables[name].records[id_])


def _bury(crm: Crm, touched: Touched, object_name: str, record: Record, alone: bool = False) -> None:
    """Hide a record and, unless ``alone``, what it owns; list the record itself."""
    table = crm.tables[object_name]
    if object_name == "Account" and not alone:
        for name in RECORD_TYPES:
            owner = OBJECTS[name].owner
            for child in crm.tables[name].referring(owner, record.id) if owner else ():
                if child.deleted_with is None:
                    crm.tables[name].hide(child, record.id)
                    touched.add(name, child.id)
    table.hide(record, record.id)
    touched.add(object_name, record.id)
    type_ = f"Action***{table.get(record, 'Activity') or 'Task'}" if object_name == "Activity" else object_name
    user = crm.tables["User"].live(crm.integration_user)
    crm.deleted_items[record.id] = DeletedItem(
        id=next(crm.ids),
        object_name=object_name,
        object_id=record.id,
        type=type_,
        name=crm.label(object_name, record),
        deleted_at=crm.now(),
        deleted_by=crm.label("User", user) if user else "",
        external_system_id=table.get(record, "ExternalSystemId"),
    )
    crm.version += 1
