"""Random publications of a small CRM into a real store, and the rows that each territory must then have: the oracle."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import httpx

from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.model import IDENTITY, Row, World, change_set, full_copy
from tests.waiting import wait_until

TERRITORIES = ("T1", "T2", "T3")
NOTICE_SECONDS = 20
"""Within which the service notices a publication."""
NAMES = ["Käthe & Söhne", 'Zum "Löwen"', "山田医院", "back\\slash", "O'Hara", "tab\tand\nline"]


@dataclass
class Record:
    """A CRM record: an account with its territory, or something under accounts."""

    place: str | None = None
    accounts: list[str] = field(default_factory=list)
    name: str = ""
    amount: str | None = None
    """A decimal number, written as it is to be served."""


class Publications:
    """Publishes into ``home``'s store; the world after each publication is known."""

    def __init__(self, home: Path, seed: int, accounts: int) -> None:
        self.random = random.Random(seed)
        self.records: dict[Row, Record] = {}
        self.world = World()
        self.seq = 0
        self._made = 0
        self.writer = DeltaStoreWriter(home / "delta.sqlite")
        self.writer.initialise(IDENTITY)
        self.writer.set_territories([(territory, None) for territory in TERRITORIES])
        for _ in range(accounts):
            self._create()
        self.publish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def step(self) -> None:
        """Publish some random changes, which sometimes no territory sees."""
        for _ in range(self.random.randrange(1, 8)):
            self.random.choice((self._create, self._edit, self._edit, self._delete, self._move, self._link))()
        self.publish()

    def realign(self, before: str, after: str, share: float) -> None:
        """Move a share of a territory's accounts with the records under them."""
        for record in self.records.values():
            if record.place == before and self.random.random() < share:
                record.place = after
        self.publish()

    def publish(self) -> None:
        self.seq += 1
        world = self._world()
        self.writer.apply(change_set(self.seq, self.world, world, TERRITORIES))
        self.world = world

    def lapse(self) -> None:
        """Prune all history: every cursor but the newest has expired."""
        self.writer.prune(self.seq, self.seq)

    def rebuild(self) -> None:
        """Rebuild the store without its history: a new epoch with the same rows."""
        identity = replace(IDENTITY, epoch="epoch-2", cursor_key=b"another key of thirty-two bytes.")
        self.writer.replace(full_copy([World(), self.world], TERRITORIES, identity))
        self.seq = 1

    def view(self, territories: Sequence[str]) -> dict[str, dict[str, str]]:
        """Object -> row id -> text, of objects that have rows."""
        found: dict[str, dict[str, str]] = {}
        for (name, row_id), body in self.world.view(territories).items():
            found.setdefault(name, {})[row_id] = body
        return found

    def await_served(self, http: httpx.Client) -> None:
        """Wait until the service serves the newest publication."""
        wait_until(
            lambda: http.get("/readyz").json().get("publishedSeq") == self.seq,
            NOTICE_SECONDS,
            f"publication {self.seq} is served",
        )

    def _create(self) -> None:
        self._made += 1
        row_id = f"1QA2-{self._made:X}"
        record = self.records["account", row_id] = Record(self.random.choice((*TERRITORIES, None)))
        self._write(record)
        for name in ("contact", "order"):
            for number in range(self.random.randrange(3)):
                child = self.records[name, f"{row_id}-{name[0]}{number}"] = Record(accounts=[row_id])
                self._write(child)

    def _edit(self) -> None:
        self._write(self.random.choice(list(self.records.values())))

    def _delete(self) -> None:
        self.records.pop(self.random.choice(list(self.records)))

    def _move(self) -> None:
        accounts = [record for (name, _), record in self.records.items() if name == "account"]
        self.random.choice(accounts).place = self.random.choice((*TERRITORIES, None))

    def _link(self) -> None:
        """A contact of several accounts stays visible while one of them is."""
        contacts = [record for (name, _), record in self.records.items() if name == "contact"]
        accounts = [row_id for name, row_id in self.records if name == "account"]
        if contacts and accounts:
            self.random.choice(contacts).accounts = self.random.sample(accounts, k=min(2, len(accounts)))

    def _write(self, record: Record) -> None:
        record.name = f"{self.random.choice(NAMES)} {self.random.randrange(3)}"
        record.amount = self.random.choice((None, f"{self.random.randrange(10_000)}.{self.random.randrange(10)}0"))

    def _world(self) -> World:
        bodies, seen = {}, set()
        for (name, row_id), record in self.records.items():
            text = json.dumps(record.name, ensure_ascii=False)
            bodies[name, row_id] = f'{{"{name}Id":"{row_id}","name":{text},"amount":{record.amount or "null"}}}'
            owners = [self.records.get(("account", account)) for account in record.accounts] or [record]
            seen |= {(owner.place, (name, row_id)) for owner in owners if owner and owner.place}
        return World(bodies, frozenset(seen))
