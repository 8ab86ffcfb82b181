"""What a territory may see, worked out the plain way from the CRM's own records. Knows nothing of the pipeline."""

from __future__ import annotations

from typing import Any

import yaml

from tests.e2e.system import PROJECT, System

OBJECTS: dict[str, dict[str, Any]] = {
    name: body
    for name, body in yaml.safe_load((PROJECT / "orchestration/objects.yaml").read_text())["objects"].items()
    if not body.get("dimension")
}

Row = dict[str, Any]
View = dict[str, dict[str, Row]]
"""object -> row id -> row; numbers as their text, so that digits count."""


class Oracle:
    """The CRM at one moment."""

    def __init__(self, system: System, books: bool = False) -> None:
        """With ``books``, those are the territories."""
        self._books = books
        self._records = {name: system.records(body["service"]) for name, body in OBJECTS.items()}
        self._accounts = {record["Id"]: record for record in self._records["account"]}

    def view(self, territories: set[str]) -> View:
        def seen(account_id: str | None) -> bool:
            account = self._accounts.get(account_id or "")
            if account is None:
                return False
            return bool(territories.intersection(account["books"] if self._books else [account["TerritoryId"]]))

        def visible(name: str, record: Row) -> bool:
            if name == "account":
                return seen(record["Id"])
            if name == "contact":
                return seen(record["AccountId"]) or any(seen(linked) for linked in record["accounts"])
            return seen(record["BusinessAccountId" if name == "order" else "AccountId"])

        return {
            name: {record["Id"]: self._row(name, record) for record in records if visible(name, record)}
            for name, records in self._records.items()
        }

    def ids(self, name: str) -> list[str]:
        return sorted(record["Id"] for record in self._records[name])

    @staticmethod
    def _row(name: str, record: Row) -> Row:
        row: Row = {f"{name}Id": record["Id"]}
        for field, kind in OBJECTS[name]["fields"].items():
            value = record[field] or None
            if value is not None and kind == "boolean":
                value = value in {"true", "Y", "1"}
            row[field[0].lower() + field[1:]] = value
        return row
