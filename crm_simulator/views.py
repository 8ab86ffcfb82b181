"""What the control API shows of the CRM; the caller holds its lock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from crm_simulator.books import books_of
from crm_simulator.crm import Crm
from crm_simulator.kinds import ObjectType
from crm_simulator.links import linked_accounts
from crm_simulator.schema import BOOK_ROWS, DECORATIONS, OBJECTS, RECORD_TYPES

_SEARCH_ROWS = 12
_RECENT_ACTIONS = 50


def summary_view(crm: Crm, territories: TerritoryCounts) -> dict[str, Any]:
    """Counts of live rows per object and territory, operations spent, recent actions (newest first)."""
    return {
        "server_time": crm.now(),
        "objects": {name: len(crm.tables[name].live_ids) for name in (*RECORD_TYPES, "ModificationTracking")},
        "deleted_items": len(crm.deleted_items),
        "territories": territories.rows(),
        "operations": crm.operations.total(),
        "operations_by_request": dict(sorted(crm.operations.items())),
        "refused_sign_ins": crm.refused_sign_ins,
        "waiting": {"assignments": len(crm.assignments), "agenda": len(crm.agenda), "books": len(crm.timed_books)},
        "actions": [asdict(action) for action in list(crm.actions)[:_RECENT_ACTIONS]],
    }


def records_view(crm: Crm, kind: ObjectType, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Live rows with every field as wire text, in order of id (without the texts about who created and changed them).

    ``ids`` (comma separated) narrows to some rows, ``territory`` (an id) to an account's, ``seen`` (any text) to what
    the integration user may see. A contact also has ``accounts``, the ids of the live accounts it is linked to; where
    there are books, accounts and contacts have ``books``, the ids of those they are in.
    """
    table = crm.tables[kind.name]
    wanted = set(parameters["ids"].split(",")) if "ids" in parameters else None
    if "territory" in parameters:
        in_territory: set[str] = table.indexed("TerritoryId", parameters["territory"]) or set()
        wanted = in_territory if wanted is None else wanted & in_territory
    ids = list(table.live_ids) if wanted is None else sorted(id_ for id_ in wanted if table.live(id_) is not None)
    if parameters.get("seen"):
        ids = [id_ for id_ in ids if crm.sight.sees(kind.name, table.records[id_])]
    with_books = kind.name in BOOK_ROWS and bool(crm.tables["Book"].records)
    getters = [(field.name, crm.getter(kind, field.name)) for field in kind.fields if field.name not in DECORATIONS]
    rows: list[dict[str, Any]] = []
    for id_ in ids:
        row: dict[str, Any] = {name: read(table.records[id_]) for name, read in getters}
        if kind.name == "Contact":
            row["accounts"] = linked_accounts(crm, id_)
        if with_books:
            row["books"] = books_of(crm, kind.name, id_)
        rows.append(row)
    return rows


def search_view(crm: Crm, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    """The first rows of ``object`` whose name or id holds ``text``, live and restorable ones."""
    name = parameters.get("object", "Account")
    text = parameters.get("text", "").casefold()
    if name not in RECORD_TYPES:
        return []
    table = crm.tables[name]
    found: list[dict[str, Any]] = []
    for record in table.records.values():
        if record.deleted_with is not None and record.id not in crm.deleted_items:
            continue
        label = crm.label(name, record)
        if text in label.casefold() or text == record.id.casefold():
            row = {
                "id": record.id,
                "label": label,
                "deleted": record.deleted_with is not None,
                "fields": {field.name: table.get(record, field.name) for field in table.kind.stored},
            }
            if name == "Contact":
                row["accounts"] = linked_accounts(crm, record.id)
            found.append(row)
            if len(found) == _SEARCH_ROWS:
                break
    return found


class TerritoryCounts:
    """Live rows by territory, counted anew only after a change: the control page asks every second or two."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._rows: list[dict[str, Any]] = []
        self._version = -1

    def rows(self) -> list[dict[str, Any]]:
        if self._version != self._crm.version:
            self._rows = _territories(self._crm)
            self._version = self._crm.version
        return self._rows


def _territories(crm: Crm) -> list[dict[str, Any]]:
    home = {id_: territory for id_, territory in _values(crm, "Account", "TerritoryId") if territory is not None}
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    counts["accounts"].update(home.values())
    for label, name in (("opportunities", "Opportunity"), ("activities", "Activity"), ("orders", "Order")):
        owners = (account for _, account in _values(crm, name, OBJECTS[name].owner or ""))
        counts[label].update(home[account] for account in owners if account in home)
    contacts: defaultdict[str, set[str | None]] = defaultdict(set)
    people, links = crm.tables["Contact"], _values(crm, "ContactAccount", "AccountId")
    contact_of = dict(_values(crm, "ContactAccount", "ContactId"))
    for link_id, account in links:
        if account in home and people.live(contact_of[link_id] or "") is not None:
            contacts[home[account]].add(contact_of[link_id])
    counts["contacts"].update({territory: len(found) for territory, found in contacts.items()})
    table = crm.tables["Territory"]
    rows = [
        {
            "id": id_,
            "name": name,
            "description": table.get(table.records[id_], "Description"),
            "parent": table.get(table.records[id_], "ParentTerritoryId"),
            **{
                label: counts[label][id_] for label in ("accounts", "contacts", "opportunities", "activities", "orders")
            },
        }
        for id_, name in _values(crm, "Territory", "TerritoryName")
    ]
    return sorted(rows, key=lambda row: row["name"] or "")


def _values(crm: Crm, object_name: str, field: str) -> Iterator[tuple[str, str | None]]:
    """Each live row's id with one of its stored fields."""
    table = crm.tables[object_name]
    position = table.kind.position[field]
    return ((record.id, record.values[position]) for record in table.records.values() if record.deleted_with is None)
