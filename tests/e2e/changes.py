"""Random changes in the CRM, as users, administrators and merges make them."""

from __future__ import annotations

import random
from typing import Any

from tests.e2e.oracle import Oracle
from tests.e2e.system import System

SERVICES = {
    "account": "Account", "contact": "Contact", "opportunity": "Opportunity", "activity": "Activity", "order": "Order",
}  # fmt: skip
EDITS: dict[str, list[tuple[str, list[str | None]]]] = {
    "account": [("AccountName", ["Städtisches Klinikum & Co", 'The "Old" Pharmacy']), ("Status", ["Active", None])],
    "contact": [("JobTitle", ["Oncologist", "Head of Pharmacy"]), ("ContactEmail", ["a@example.org", None])],
    "opportunity": [("Revenue", ["1200.50", "0.10", "7"]), ("CloseDate", ["2027-01-31", None])],
    "activity": [("Subject", ["Detailing call", "Lunch & learn"]), ("StartTime", ["2026-12-01T09:30:00Z", None])],
    "order": [("OrderNumber", ["SO-1", "SO-2"]), ("OrderCreationStatus", ["Open", "Closed"])],
}


LINK_NAMES = ["Contact", "ContactRole", "AccountContact"]
"""What an account's event may call the contact that was linked or unlinked."""
MERGE_NAMES = ["merge", "update_and_delete"]


class RandomChanges:
    """``step`` makes one change: an edit, create, delete, restore, link, merge, realignment or new parent.

    So often does the CRM tell nothing of it (``silent_share``), tell it late, or under another name.
    """

    def __init__(
        self, system: System, seed: int, silent_share: float = 0.0, late_share: float = 0.0, renamed_share: float = 0.0
    ) -> None:
        self.system, self.rng = system, random.Random(seed)
        self.silent_share, self.late_share, self.renamed_share = silent_share, late_share, renamed_share
        self.territories = [t["id"] for t in system.http.get(self._url("summary")).json()["territories"]]
        self.deleted: list[tuple[str, str]] = []

    def step(self) -> str:
        kind = self.rng.choices(
            ["edit", "create", "delete", "restore", "link", "unlink", "merge", "realign", "reparent"],
            [30, 10, 8, 8, 8, 6, 4, 10, 8],
        )[0]
        getattr(self, f"_{kind}")()
        return kind

    def _edit(self) -> None:
        name = self.rng.choice(list(SERVICES))
        field, values = self.rng.choice(EDITS[name])
        self._update(name, self._any(name), {field: self.rng.choice(values)})

    def _create(self) -> None:
        name = self.rng.choice(list(SERVICES))
        parent = self._any("account")
        fields: dict[str, dict[str, Any]] = {
            "account": {"AccountName": "New Clinic", "TerritoryId": self.rng.choice([*self.territories, None])},
            "contact": {"ContactFirstName": "Zoë", "ContactLastName": "O'Neil", "AccountId": parent},
            "opportunity": {"OpportunityName": "Launch", "Revenue": "10.00", "AccountId": parent},
            "activity": {"Subject": "Call", "Activity": "Task", "AccountId": parent},
            "order": {"OrderNumber": "SO-9", "BusinessAccountId": parent},
        }
        given = {field: value for field, value in fields[name].items() if value is not None}
        self.system.control("insert", object=SERVICES[name], fields=given, events=self._tells())

    def _delete(self) -> None:
        name = self.rng.choice(list(SERVICES))
        row_id = self._any(name)
        events = self.rng.choice(["both", "delete"]) if self._tells() else "none"
        self.system.control("delete", object=SERVICES[name], id=row_id, events=events)
        self.deleted.append((name, row_id))

    def _restore(self) -> None:
        """Refused where the parent is deleted, as in the CRM: that is no change then."""
        if self.deleted:
            name, row_id = self.deleted.pop(self.rng.randrange(len(self.deleted)))
            self.system.http.post(
                self._url("restore"), json={"object": SERVICES[name], "id": row_id, "events": self._tells()}
            )

    def _link(self) -> None:
        sides = self.rng.choice(["both", "contact", "account"]) if self._tells() else "none"
        self.system.http.post(
            self._url("link"),
            json={
                "contact": self._any("contact"),
                "account": self._any("account"),
                "sides": sides,
                **self._link_named(),
            },
        )

    def _unlink(self) -> None:
        contacts = [c for c in self.system.records("Contact") if c["accounts"]]
        contact = self.rng.choice(contacts)
        sides = self.rng.choice(["both", "contact", "account"]) if self._tells() else "none"
        self.system.http.post(
            self._url("unlink"),
            json={
                "contact": contact["Id"],
                "account": self.rng.choice(contact["accounts"]),
                "sides": sides,
                **self._link_named(),
            },
        )

    def _merge(self) -> None:
        name = self.rng.choice(["account", "contact"])
        survivor, duplicate = self.rng.sample(Oracle(self.system).ids(name), 2)
        self.system.control(
            "merge",
            object=SERVICES[name],
            survivor=survivor,
            duplicate=duplicate,
            events=self._tells(),
            **({"told_as": self.rng.choice(MERGE_NAMES)} if self._renames() else {}),
        )

    def _realign(self) -> None:
        source, target = self.rng.sample(self.territories, 2)
        share = self.rng.choice([self.rng.uniform(0.01, 0.4), self.rng.uniform(0.4, 1.0), 1.0])
        seed = self.rng.randrange(99)
        self.system.control(
            "realign", **{"from": source, "to": target, "share": share, "seed": seed, "events": self._tells()}
        )

    def _reparent(self) -> None:
        name = self.rng.choice(["contact", "opportunity", "activity", "order"])
        field = "BusinessAccountId" if name == "order" else "AccountId"
        self._update(name, self._any(name), {field: self._any("account")})

    def _update(self, name: str, row_id: str, fields: dict[str, Any]) -> None:
        late = {"event_age_seconds": self.rng.randint(1, 500)} if self.rng.random() < self.late_share else {}
        self.system.control("update", object=SERVICES[name], id=row_id, fields=fields, events=self._tells(), **late)

    def _tells(self) -> bool:
        """Whether the CRM writes events about this change."""
        return self.rng.random() >= self.silent_share

    def _renames(self) -> bool:
        return self.renamed_share > 0 and self.rng.random() < self.renamed_share

    def _link_named(self) -> dict[str, Any]:
        if not self._renames():
            return {}
        return {"told_as": self.rng.choice(LINK_NAMES), "by_link_row": self.rng.random() < 0.5}

    def _any(self, name: str) -> str:
        return str(self.rng.choice(sorted(record["Id"] for record in self.system.records(SERVICES[name]))))

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.system.crm_port}/control/{path}"
