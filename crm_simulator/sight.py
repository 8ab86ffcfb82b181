"""What the integration user may see: rows out of sight are missing from answers as if they did not exist."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from crm_simulator.records import Record, Table
from crm_simulator.schema import OBJECTS

Answer = Literal["empty", "denied", "unavailable"]


class Sight:
    """Rules that hide rows, whole objects, single fields, or a territory's accounts with all that hangs on them."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self.rows: defaultdict[str, set[str]] = defaultdict(set)
        self.objects: dict[str, Answer] = {}
        self.territories: set[str] = set()
        self.fields: defaultdict[str, set[str]] = defaultdict(set)
        """By object: fields that come back blank, whatever they hold."""

    @property
    def limited(self) -> bool:
        return bool(self.objects or self.territories or any(self.rows.values()))

    def restore(self) -> None:
        """Let the user see everything again."""
        self.rows.clear()
        self.objects.clear()
        self.territories.clear()
        self.fields.clear()

    def sees(self, object_name: str, record: Record) -> bool:
        """Whether a live record is in sight."""
        if not self.limited:
            return True
        if object_name in self.objects or record.id in self.rows[object_name]:
            return False
        return not (self.territories and self._out_of_territory(object_name, record))

    def shows_link(self, link: Record, table: Table) -> bool:
        """A row of a child list is seen while the records it names are."""
        if link.deleted_with is not None:
            return False
        for field in table.kind.links_to:
            end = self._tables[str(field.ref)].live(table.get(link, field.name) or "")
            if end is None or not self.sees(str(field.ref), end):
                return False
        return True

    def _out_of_territory(self, object_name: str, record: Record) -> bool:
        table = self._tables[object_name]
        if object_name == "Account":
            return table.get(record, "TerritoryId") in self.territories
        if object_name == "Contact":
            links = self._tables["ContactAccount"]
            accounts = [links.get(link, "AccountId") for link in links.referring("ContactId", record.id)]
            return bool(accounts) and all(self._hidden_account(id_) for id_ in accounts)
        owner = OBJECTS[object_name].owner
        return owner is not None and self._hidden_account(table.get(record, owner))

    def _hidden_account(self, id_: str | None) -> bool:
        accounts = self._tables["Account"]
        account = accounts.live(id_ or "")
        return account is not None and accounts.get(account, "TerritoryId") in self.territories
