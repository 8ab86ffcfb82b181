"""Books as territories, with real processes and the catalog shipped as an example: the same exactness."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.changes import RandomChanges
from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.steps import NO_GUARD, ScopedDevice, check_recompute, job_config, poll_and_expect
from tests.e2e.system import PROJECT, System, running_system

pytestmark = pytest.mark.e2e

CATALOG = PROJECT / "docs/books.yaml"
ROUNDS = 8
STEPS_PER_ROUND = 8
MODES = ["add", "replace_type", "replace_all", "replace_book", "remove", "remove_all"]


class BookChanges(RandomChanges):
    """Half of the steps are about books; ``told`` says whether the CRM writes events about them."""

    told = True

    def __init__(self, system: System, seed: int) -> None:
        super().__init__(system, seed)
        self.books = [row["Id"] for row in system.records("Book") if row["CanContainDataFlag"] == "true"]

    def step(self) -> str:
        if self.rng.random() < 0.5:
            return super().step()
        self._assign() if self.rng.random() < 0.7 else self._pass_time()
        return "books"

    def _tells(self) -> bool:
        return self.told

    def _events(self) -> str:
        return self.rng.choice(["associate", "write"]) if self.told else "none"

    def _assign(self) -> None:
        mode = self.rng.choice(MODES)
        chosen = self.rng.sample([row["Id"] for row in self.system.records("Account")], self.rng.randint(1, 15))
        book, replaced = self.rng.sample(self.books, 2)
        other = {"replaced": replaced} if mode == "replace_book" else {}
        self.system.control("books", ids=chosen, mode=mode, book=book, events=self._events(), **other)

    def _pass_time(self) -> None:
        """A membership that begins in an hour and ends in two; the server's own procedure runs when both are due."""
        now = datetime.fromisoformat(self.system.http.get(self._url("summary")).json()["server_time"])
        hour = timedelta(hours=1)
        self.system.control(
            "books/timed", id=self._any("account"), book=self.rng.choice(self.books),
            start=(now + hour).isoformat(), end=(now + 2 * hour).isoformat(),
        )  # fmt: skip
        self.system.control("clock", advance_seconds=self.rng.choice([4_000, 8_000]))
        self.system.control("books/procedure", events=self._events())


def test_devices_hold_exactly_their_books_after_changes_told_and_untold(tmp_path: Path, e2e_seed: int) -> None:
    with running_system(tmp_path, OBJECT_CATALOG=str(CATALOG), **NO_GUARD) as system:
        system.start_crm(100, 3, e2e_seed, "--books", "6")
        changes = BookChanges(system, e2e_seed)
        system.run_job("full_load")
        system.start_service()
        system.wait_published()
        first, second = changes.books[:2]
        devices = [
            (Device(book, system.service, f"/v1/territories/{book}/delta", system.token(book)), {book})
            for book in changes.books
        ]
        both = Device("two books", system.service, "/v1/delta", system.token(first, second))
        devices.append((both, {first, second}))
        poll_and_expect(system, devices, Oracle(system, books=True))
        for number in range(ROUNDS):
            changes.told = number % 2 == 0
            for _ in range(STEPS_PER_ROUND):
                changes.step()
            system.control("clock", advance_seconds=3)
            truth = Oracle(system, books=True)
            # Associating moves no number: without events, only a census can know.
            system.run_job("sync" if changes.told else "census")
            check_recompute(tmp_path, CATALOG)
            poll_and_expect(system, devices, truth)
        realign_by_book(system, devices, first, second)


def realign_by_book(system: System, devices: list[ScopedDevice], left: str, right: str) -> None:
    """What an administrator moved from one book to another without an event, read by book on demand."""
    names = {row["Id"]: row["BookName"] for row in system.records("Book")}
    there = [row["Id"] for row in system.records("Account") if left in row["books"]]
    elsewhere = [row["Id"] for row in system.records("Account") if left not in row["books"]]
    rng = random.Random(5)
    moved = rng.sample(there, len(there) // 2) + rng.sample(elsewhere, 10)
    system.control("books", ids=moved, mode="replace_all", book=right, events="none")
    truth = Oracle(system, books=True)
    before = system.operations()
    chosen = job_config(system, "rebuild_territories", territories=[names[left], right])
    printed = system.run_job("realign_territories", *chosen)
    assert f"| {names[left]} | 0 | " in printed
    assert system.operations() - before < 1_000
    poll_and_expect(system, [pair for pair in devices if pair[1] <= {left, right}], truth)
