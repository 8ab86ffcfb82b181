"""What the control API shows of the CRM; the caller holds its lock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from crm_simulator.changes import linked_accounts
from crm_simulator.crm import Crm
from crm_simulator.schema import DECORATIONS, RECORD_TYPES, ObjectType

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
        "actions": [asdict(action) for action in list(crm.actions)[:_RECENT_ACTIONS]],
    }


def records_view(crm: Crm, kind: ObjectType, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Live rows with every field as wire text, in order of id (without the texts about who created and changed them).

    ``ids`` (comma separated) narrows to some rows, ``territory`` (an id) to an account's. A contact also has
    ``accounts``, the ids of the live accounts it is linked to.
    """
    table = crm.tables[kind.name]
    wanted = set(parameters["ids"].split(",")) if "ids" in parameters else None
    if "territory" in parameters:
        in_territory: set[str] = table.indexed("TerritoryId", parameters["territory"]) or set()
        wanted = in_territory if wanted is None else wanted & in_territory
    ids = list(table.live_ids) if wanted is None else sorted(id_ for id_ in wanted if table.live(id_) is not None)
    getters = [(field.name, crm.getter(kind, field.name)) for field in kind.fields if field.name not in DECORATIONS]
    rows: list[dict[str, Any]] = []
    for id_ in ids:
        row: dict[str, Any] = {name: read(table.records[id_]) for name, read in getters}
        if kind.name == "Contact":
            row["accounts"] = linked_accounts(crm, id_)
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
    accounts: dict[str, set[str]] = {}
    table = crm.tables["Account"]
    rows = []
    children = (("opportunities", "Opportunity"), ("activities", "Activity"), ("orders", "Order"))
    contacts: defaultdict[str, set[str]] = defaultdict(set)
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    place = {id_: table.get(table.records[id_], "TerritoryId") for id_ in table.live_ids}
    for id_, territory_id in place.items():
        if territory_id is not None:
            accounts.setdefault(territory_id, set()).add(id_)
    links = crm.tables["ContactAccount"]
    people = crm.tables["Contact"]
    for id_ in links.live_ids:
        link = links.records[id_]
        contact_id = links.get(link, "ContactId") or ""
        territory_id = place.get(links.get(link, "AccountId") or "")
        if territory_id is not None and people.live(contact_id) is not None:
            contacts[territory_id].add(contact_id)
    for label, name in children:
        owned = crm.tables[name]
        owner = owned.kind.owner or ""
        for id_ in owned.live_ids:
            territory_id = place.get(owned.get(owned.records[id_], owner) or "")
            if territory_id is not None:
                counts[territory_id, label] += 1
    territories = crm.tables["Territory"]
    for record in territories.records.values():
        if record.deleted_with is None:
            rows.append(
                {
                    "id": record.id,
                    "name": territories.get(record, "TerritoryName"),
                    "description": territories.get(record, "Description"),
                    "parent": territories.get(record, "ParentTerritoryId"),
                    "accounts": len(accounts.get(record.id, ())),
                    "contacts": len(contacts[record.id]),
                    **{label: counts[record.id, label] for label, _ in children},
                }
            )
    return sorted(rows, key=lambda row: row["name"] or "")
