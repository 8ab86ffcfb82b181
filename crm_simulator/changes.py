"""What users do to records, with everything that follows: events, cascades, links and the Deleted Items list.

Each function returns what it touched. The caller holds the CRM's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from crm_simulator.crm import Crm, DeletedItem, Touched
from crm_simulator.kinds import ObjectType
from crm_simulator.records import Record
from crm_simulator.schema import OBJECTS, PROTECTED, RECORD_TYPES
from crm_simulator.values import stamp


class ChangeError(Exception):
    """The change is refused; the message says why."""


class NoSuchRecordError(ChangeError):
    """The record does not exist, or is deleted."""


def live_record(crm: Crm, object_name: str, id_: str) -> Record:
    """Raises :class:`NoSuchRecordError`."""
    record = crm.tables[object_name].live(id_)
    if record is None:
        raise NoSuchRecordError(f"there is no {object_name} {id_!r}, or it is deleted")
    return record


def insert(crm: Crm, object_name: str, fields: Mapping[str, str | None], events: bool = True) -> Touched:
    """A new record; the first id in the result is its. ``fields`` are in wire form."""
    kind = OBJECTS[object_name]
    _check(crm, kind, fields)
    if missing := [name for name in kind.label[-1:] if not fields.get(name)]:
        raise ChangeError(f"{object_name} needs {missing[0]}")
    touched = Touched()
    record = crm.new_record(object_name, dict(fields))
    touched.add(object_name, record.id)
    if object_name == "Contact":
        _follow_primary_account(crm, record, touched)
    if events:
        crm.log(touched, "WriteRecordNew", object_name, record)
    return touched


def update(
    crm: Crm,
    object_name: str,
    id_: str,
    fields: Mapping[str, str | None],
    events: bool = True,
    event_age_seconds: int = 0,
) -> Touched:
    """Save changed fields; None clears one. Without ``events`` it is as an import may be: a new date, no event.

    An event with an age shows up only now, after others with later stamps.
    """
    record = live_record(crm, object_name, id_)
    _check(crm, OBJECTS[object_name], fields)
    touched = Touched()
    at = stamp(crm.clock.now() - timedelta(seconds=event_age_seconds))
    _save(crm, touched, object_name, record, fields, events, at)
    return touched


def delete(crm: Crm, object_name: str, id_: str, events: str = "both") -> Touched:
    """Delete softly. ``events``: which of the two delete events are written, both, delete, predelete or none.

    What an account owns goes with it, without events and without entries in the Deleted Items list.
    """
    record = live_record(crm, object_name, id_)
    touched = Touched()
    if events in ("both", "predelete"):
        crm.log(touched, "PreDeleteRecord", object_name, record)
    _bury(crm, touched, object_name, record)
    if events in ("both", "delete"):
        crm.log(touched, "DeleteRecord", object_name, record)
    return touched


def restore(crm: Crm, object_name: str, id_: str, events: bool = True) -> Touched:
    """Take a record out of the Deleted Items list, with all that went with it."""
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
    if events:
        crm.log(touched, "RestoreRecord", object_name, record)
    return touched


def merge(crm: Crm, object_name: str, survivor_id: str, duplicate_id: str, events: bool = True) -> Touched:
    """Make one record of two: the duplicate is deleted, and all that points to it is re-pointed without a trace."""
    if object_name not in ("Account", "Contact"):
        raise ChangeError("only accounts and contacts are merged here")
    if survivor_id == duplicate_id:
        raise ChangeError("a record cannot be merged with itself")
    survivor = live_record(crm, object_name, survivor_id)
    duplicate = live_record(crm, object_name, duplicate_id)
    touched = Touched()
    _merge_links(crm, touched, object_name, survivor_id, duplicate_id)
    for name, kind in OBJECTS.items():
        for field in kind.references:
            if field.ref != object_name or name == "ContactAccount":
                continue
            for record in crm.tables[name].referring(field.name, duplicate_id):
                # A record does not become its own parent.
                crm.alter(name, record, {field.name: None if record.id == survivor_id else survivor_id})
                touched.add(name, record.id)
    if object_name == "Account":
        for link in crm.tables["ContactAccount"].referring("AccountId", survivor_id):
            _mark_primary(crm, crm.tables["ContactAccount"].get(link, "ContactId") or "")
    else:
        _mark_primary(crm, survivor_id)
    _bury(crm, touched, object_name, duplicate, alone=True)
    crm.touch(object_name, survivor, {})
    touched.add(object_name, survivor_id)
    if events:
        crm.log(touched, "MergeRecords", object_name, survivor, (object_name, duplicate_id))
    return touched


def link(crm: Crm, contact_id: str, account_id: str, sides: str = "both") -> Touched:
    """Make an account one of a contact's. ``sides``: which of the two write the event, contact, account, both, none."""
    contact = live_record(crm, "Contact", contact_id)
    account = live_record(crm, "Account", account_id)
    if _link_between(crm, contact_id, account_id) is not None:
        raise ChangeError(f"contact {contact_id} and account {account_id} are linked already")
    touched = Touched()
    _add_link(crm, contact_id, account_id, touched)
    if crm.tables["Contact"].get(contact, "AccountId") is None:
        crm.alter("Contact", contact, {"AccountId": account_id})
    _mark_primary(crm, contact_id)
    _log_sides(crm, touched, "Associate", contact, account, sides)
    return touched


def unlink(crm: Crm, contact_id: str, account_id: str, sides: str = "both") -> Touched:
    """Take the link away. If it was to the primary account, another linked one becomes primary, without a trace."""
    contact = live_record(crm, "Contact", contact_id)
    account = live_record(crm, "Account", account_id)
    found = _link_between(crm, contact_id, account_id)
    if found is None:
        raise ChangeError(f"contact {contact_id} and account {account_id} are not linked")
    touched = Touched()
    links = crm.tables["ContactAccount"]
    links.purge(found)
    touched.add("Contact", contact_id)
    touched.add("Account", account_id)
    if crm.tables["Contact"].get(contact, "AccountId") == account_id:
        others = [links.get(other, "AccountId") for other in links.referring("ContactId", contact_id)]
        crm.alter("Contact", contact, {"AccountId": next((id_ for id_ in others if id_), None)})
        _mark_primary(crm, contact_id)
    crm.version += 1
    _log_sides(crm, touched, "Dissociate", contact, account, sides)
    return touched


def realign(crm: Crm, account_ids: list[str], territory_id: str | None, events: bool = True) -> Touched:
    """Set the accounts' territory, one save each; nothing that hangs on them is touched."""
    touched = Touched()
    records = [live_record(crm, "Account", id_) for id_ in account_ids]
    if territory_id is not None:
        live_record(crm, "Territory", territory_id)
    for record in records:
        _save(crm, touched, "Account", record, {"TerritoryId": territory_id}, events)
    return touched


def linked_accounts(crm: Crm, contact_id: str) -> list[str]:
    """Ids of the live accounts a contact is linked to."""
    links = crm.tables["ContactAccount"]
    ids = (links.get(link, "AccountId") or "" for link in links.referring("ContactId", contact_id))
    return sorted(id_ for id_ in ids if crm.tables["Account"].live(id_) is not None)


def _save(
    crm: Crm,
    touched: Touched,
    object_name: str,
    record: Record,
    fields: Mapping[str, str | None],
    events: bool,
    event_at: str | None = None,
) -> None:
    crm.touch(object_name, record, dict(fields))
    touched.add(object_name, record.id)
    if object_name == "Contact" and "AccountId" in fields:
        _follow_primary_account(crm, record, touched)
    if events:
        crm.log(touched, "WriteRecordUpdated", object_name, record, at=event_at)


def _check(crm: Crm, kind: ObjectType, fields: Mapping[str, str | None]) -> None:
    for name, value in fields.items():
        field = kind.by_name.get(name)
        if field is None:
            raise ChangeError(f"{kind.name} has no field {name}")
        if not field.stored or name in PROTECTED:
            raise ChangeError(f"{kind.name}.{name} cannot be set: the CRM keeps it")
        if field.ref and value is not None and crm.tables[field.ref].live(value) is None:
            raise ChangeError(f"{kind.name}.{name}: there is no {field.ref} {value!r}")


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


def _link_between(crm: Crm, contact_id: str, account_id: str) -> Record | None:
    links = crm.tables["ContactAccount"]
    found = links.referring("ContactId", contact_id)
    return next((link for link in found if links.get(link, "AccountId") == account_id), None)


def _add_link(crm: Crm, contact_id: str, account_id: str, touched: Touched) -> None:
    fields: dict[str, str | None] = {"ContactId": contact_id, "AccountId": account_id, "PrimaryAccount": "false"}
    crm.new_record("ContactAccount", fields | {"PrimaryContact": "false"})
    touched.add("Contact", contact_id)
    touched.add("Account", account_id)


def _follow_primary_account(crm: Crm, contact: Record, touched: Touched) -> None:
    """The account a contact's own field names is one of its links; earlier ones stay."""
    account_id = crm.tables["Contact"].get(contact, "AccountId")
    if account_id is not None and _link_between(crm, contact.id, account_id) is None:
        _add_link(crm, contact.id, account_id, touched)
    _mark_primary(crm, contact.id)


def _mark_primary(crm: Crm, contact_id: str) -> None:
    contact = crm.tables["Contact"].records[contact_id]
    primary = crm.tables["Contact"].get(contact, "AccountId")
    links = crm.tables["ContactAccount"]
    for found in links.referring("ContactId", contact_id):
        crm.alter("ContactAccount", found, {"PrimaryAccount": str(links.get(found, "AccountId") == primary).lower()})


def _merge_links(crm: Crm, touched: Touched, object_name: str, survivor_id: str, duplicate_id: str) -> None:
    """Re-point the duplicate's links; one the survivor has already goes away."""
    mine, other = ("AccountId", "ContactId") if object_name == "Account" else ("ContactId", "AccountId")
    links = crm.tables["ContactAccount"]
    known = {links.get(found, other) for found in links.referring(mine, survivor_id)}
    for found in links.referring(mine, duplicate_id):
        far_end = links.get(found, other)
        if far_end in known:
            links.purge(found)
        else:
            crm.alter("ContactAccount", found, {mine: survivor_id})
        touched.add("Contact" if object_name == "Account" else "Account", far_end or "")


def _log_sides(crm: Crm, touched: Touched, event: str, contact: Record, account: Record, sides: str) -> None:
    if sides in ("both", "contact"):
        crm.log(touched, event, "Contact", contact, ("Account", account.id))
    if sides in ("both", "account"):
        crm.log(touched, event, "Account", account, ("Contact", contact.id))
