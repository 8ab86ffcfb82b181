"""Rows of a generated data set, gathered before the tables take them all at once."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from crm_simulator.crm import Crm
from crm_simulator.records import Record
from crm_simulator.schema import OBJECTS
from crm_simulator.values import stamp

Values = dict[str, str | None]


class Rows:
    """Makes rows with audit fields; ``batch`` is the creation stamp that new rows get, as an import gives it."""

    def __init__(self, crm: Crm, seed: int) -> None:
        self.crm = crm
        self.random = random.Random(seed)  # noqa: S311 - made to be repeatable
        self.now = crm.clock.now()
        self.by_object: dict[str, list[Record]] = {name: [] for name in OBJECTS}
        self._stored = {name: [field.name for field in kind.stored] for name, kind in OBJECTS.items()}
        moments = sorted(self.moment(365) for _ in range(4000))
        self.stamps = [stamp(moment) for moment in moments]
        self.batch = self.stamps[0]

    def add(self, object_name: str, values: Values) -> str:
        """Its id."""
        created = self.batch
        # Most rows are as an import left them; the others were changed later.
        modified = created
        number = "0"
        if self.random.random() < 0.3:
            modified = max(created, self.random.choice(self.stamps))
            number = str(self.random.randint(1, 9))
        id_ = next(self.crm.ids)
        user = self.crm.integration_user
        values |= {
            "Id": id_,
            "ModId": number,
            "CreatedDate": created,
            "CreatedById": user,
            "ModifiedDate": modified,
            "ModifiedById": user,
        }
        self.by_object[object_name].append(Record(id_, [values.get(name) for name in self._stored[object_name]]))
        return id_

    def load(self) -> None:
        """Hand all rows over to the CRM's tables."""
        for name, rows in self.by_object.items():
            self.crm.tables[name].load(rows)
        self.crm.version += 1

    def moment(self, days: int) -> datetime:
        """A time in the last ``days`` days, at least a minute ago."""
        return self.now - timedelta(seconds=self.random.randint(60, days * 86_400))
