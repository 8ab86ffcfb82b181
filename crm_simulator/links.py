"""The links between contacts and accounts, of which one account of a contact is the primary one."""

from __future__ import annotations

from dataclasses import dataclass

from crm_simulator.crm import Crm, Touched
from crm_simulator.lookup import ChangeError, live_record
from crm_simulator.records import Record


@dataclass(frozen=True)
class Telling:
    """What the account's event about a link calls the contact, and whether it has the id of the link's row."""

    child_name: str = "Contact"
    by_link_row: bool = False


PLAINLY = Telling()


def link(crm: Crm, contact_id: str, account_id: str, sides: str = "both", telling: Telling = PLAINLY) -> Touched:
    """Make an account one of a contact's. ``sides``: which of the two write the event, contact, account, both, none."""
    contact = live_record(crm, "Contact", contact_id)
    account = live_record(crm, "Account", account_id)
    if _link_between(crm, contact_id, account_id) is not None:
        raise ChangeError(f"contact {contact_id} and account {account_id} are linked already")
    touched = Touched()
    _add_link(crm, contact_id, account_id, touched)
    made = _link_between(crm, contact_id, account_id)
    if crm.tables["Contact"].get(contact, "AccountId") is None:
        crm.alter("Contact", contact, {"AccountId": account_id})
    mark_primary(crm, contact_id)
    assert made is not None
    child = telling.child_name, made.id if telling.by_link_row else contact.id
    _log_sides(crm, touched, "Associate", contact, account, sides, child)
    return touched


def unlink(crm: Crm, contact_id: str, account_id: str, sides: str = "both", telling: Telling = PLAINLY) -> Touched:
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
        mark_primary(crm, contact_id)
    crm.version += 1
    child = telling.child_name, found.id if telling.by_link_row else contact.id
    _log_sides(crm, touched, "Dissociate", contact, account, sides, child)
    return touched


def linked_accounts(crm: Crm, contact_id: str) -> list[str]:
    """Ids of the live accounts a contact is linked to."""
    links = crm.tables["ContactAccount"]
    ids = (links.get(link, "AccountId") or "" for link in links.referring("ContactId", contact_id))
    return sorted(id_ for id_ in ids if crm.tables["Account"].live(id_) is not None)


def _link_between(crm: Crm, contact_id: str, account_id: str) -> Record | None:
    links = crm.tables["ContactAccount"]
    found = links.referring("ContactId", contact_id)
    return next((link for link in found if links.get(link, "AccountId") == account_id), None)


def _add_link(crm: Crm, contact_id: str, account_id: str, touched: Touched) -> None:
    fields: dict[str, str | None] = {"ContactId": contact_id, "AccountId": account_id, "PrimaryAccount": "false"}
    crm.new_record("ContactAccount", fields | {"PrimaryContact": "false"})
    touched.add("Contact", contact_id)
    touched.add("Account", account_id)


def follow_primary_account(crm: Crm, contact: Record, touched: Touched) -> None:
    """The account a contact's own field names is one of its links; earlier ones stay."""
    account_id = crm.tables["Contact"].get(contact, "AccountId")
    if account_id is not None and _link_between(crm, contact.id, account_id) is None:
        _add_link(crm, contact.id, account_id, touched)
    mark_primary(crm, contact.id)


def mark_primary(crm: Crm, contact_id: str) -> None:
    contact = crm.tables["Contact"].records[contact_id]
    primary = crm.tables["Contact"].get(contact, "AccountId")
    links = crm.tables["ContactAccount"]
    for found in links.referring("ContactId", contact_id):
        crm.alter("ContactAccount", found, {"PrimaryAccount": str(links.get(found, "AccountId") == primary).lower()})


def merge_links(crm: Crm, touched: Touched, object_name: str, survivor_id: str, duplicate_id: str) -> None:
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


def _log_sides(
    crm: Crm, touched: Touched, event: str, contact: Record, account: Record, sides: str, child: tuple[str, str]
) -> None:
    if sides in ("both", "contact"):
        crm.log(touched, event, "Contact", contact, ("Account", account.id))
    if sides in ("both", "account"):
        crm.log(touched, event, "Account", account, child)
