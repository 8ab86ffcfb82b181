"""P8 ``long absence``: what a device gets that was away for 3, 30 or 300 days of a publication each 15 s.

The history is written straight into interval tables: 20 territories of 2,000 rows, of which 40 a territory and day get
another text and 10 move. A fresh delta of the same rows in the same store is the reference.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.cost import Cost, compared, cost
from benchmarks.results import Measurement
from delta_service.store.changes import (
    OPEN_SEQ,
    ChangeSet,
    FullCopy,
    Publication,
    RowChange,
    RowInterval,
    StoreIdentity,
    VisibilityInterval,
)
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.views import Position, View
from delta_service.store.writer import DeltaStoreWriter

TERRITORIES = 20
ROWS_A_TERRITORY = 2_000
PUBLICATIONS_A_DAY = 24 * 3600 // 15
DAYS = 300
CHANGES_A_DAY = 40
MOVES_A_DAY = 10
AGES_DAYS = (3, 30, 300)
NEWEST_SEQ = DAYS * PUBLICATIONS_A_DAY
BODIES_FROM_SEQ = NEWEST_SEQ - 2 * PUBLICATIONS_A_DAY
ROUNDS = 15
PAGE_ROWS = 1_000
START = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = StoreIdentity("benchmark", bytes(32), ("row",))


class History:
    """Every change of 300 days, and what a territory saw at any publication, kept the plain way."""

    def __init__(self) -> None:
        random_ = random.Random(1)
        rows = TERRITORIES * ROWS_A_TERRITORY
        self.contents: list[list[int]] = [[1] for _ in range(rows)]
        """By row: the publications at which its text changed."""
        self.homes: list[list[tuple[int, int]]] = [[(1, row % TERRITORIES)] for row in range(rows)]
        """By row: (publication, territory) of each move."""
        for day in range(DAYS):
            for _ in range(CHANGES_A_DAY * TERRITORIES):
                seq = 2 + day * PUBLICATIONS_A_DAY + random_.randrange(PUBLICATIONS_A_DAY - 2)
                self.contents[random_.randrange(rows)].append(seq)
            for _ in range(MOVES_A_DAY * TERRITORIES):
                seq = 2 + day * PUBLICATIONS_A_DAY + random_.randrange(PUBLICATIONS_A_DAY - 2)
                self.homes[random_.randrange(rows)].append((seq, random_.randrange(TERRITORIES)))
        self.contents = [sorted(set(seqs)) for seqs in self.contents]
        self.homes = [_moves(homes) for homes in self.homes]

    def view(self, territory: int, seq: int) -> dict[str, str]:
        """Row id to body."""
        seen = {}
        for row, homes in enumerate(self.homes):
            if [home for since, home in homes if since <= seq][-1] == territory:
                seen[_id(row)] = _body(row, max(since for since in self.contents[row] if since <= seq))
        return seen

    def full_copy(self) -> FullCopy:
        return FullCopy(
            IDENTITY,
            horizon_seq=0,
            publications=(_publication(seq) for seq in range(1, NEWEST_SEQ + 1)),
            rows=self._versions(),
            visibility=(
                VisibilityInterval(f"T{home}", "row", _id(row), since, until)
                for row, homes in enumerate(self.homes)
                for (since, home), until in zip(homes, [*(s for s, _ in homes[1:]), OPEN_SEQ], strict=True)
            ),
            heads=(),
        )

    def _versions(self) -> Iterator[RowInterval]:
        for row, seqs in enumerate(self.contents):
            for since, until in zip(seqs, [*seqs[1:], OPEN_SEQ], strict=True):
                body = _body(row, since)
                kept = body if until > BODIES_FROM_SEQ else None
                yield RowInterval("row", _id(row), since, until, _version(body), 0, kept)


def absence() -> list[Measurement]:
    """One territory's delta for each age, checked against the history, and timed beside a fresh one."""
    history = History()
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "delta.sqlite"
        with DeltaStoreWriter(path) as writer:
            writer.replace(history.full_copy())
            deltas = {}
            for age in AGES_DAYS:
                was_seq = max(1, NEWEST_SEQ - age * PUBLICATIONS_A_DAY)
                was, now = history.view(0, was_seq), history.view(0, NEWEST_SEQ)
                updates = [(id_, now[id_]) for id_ in now if was.get(id_) != now[id_]]
                deltas[age] = (was_seq, updates, was.keys() - now.keys())
            # The oldest cursor's rows first: those of the younger ones, changed again, are still among them.
            fresh = {}
            for seq, age in enumerate(sorted(AGES_DAYS, reverse=True), NEWEST_SEQ + 1):
                fresh[age] = seq
            copy = Path(folder) / "fresh.sqlite"
            with DeltaStoreWriter(copy) as other:
                other.replace(history.full_copy())
                changed = {age: _fresh_rows(deltas[age][1]) for age in AGES_DAYS}
                for age, seq in fresh.items():
                    other.apply(ChangeSet(_publication(seq), iter(changed[age]), ()))
        ours, theirs = DeltaStoreReader(path), DeltaStoreReader(copy)
        for age in AGES_DAYS:
            was_seq, updates, deletes = deltas[age]
            sent = _read(ours, was_seq, NEWEST_SEQ)
            assert sorted(body for body in sent if body) == sorted(body.encode() for _, body in updates)
            assert sum(not body for body in sent) == len(deletes)
            our_costs: list[Cost] = []
            their_costs: list[Cost] = []
            for _ in range(ROUNDS):
                our_costs.append(cost(lambda was=was_seq: _read(ours, was, NEWEST_SEQ)))  # type: ignore[misc]
                their_costs.append(cost(lambda seq=fresh[age]: _read(theirs, seq - 1, seq)))  # type: ignore[misc]
            size = sum(len(body) for body in sent)
            what = f"absence of {age} days: {len(sent)} rows, {size} bytes = net change"
            found += compared(what, our_costs, "fresh delta of as many rows", their_costs)
        ours.close()
        theirs.close()
    return found


def _read(reader: DeltaStoreReader, was: int, now: int) -> list[bytes]:
    """The bodies of a delta of territory T0; an empty one for each deletion."""
    state = reader.state(None)
    key = state.territories["T0"].key
    bodies: list[bytes] = []
    after: Position | None = None
    while True:
        rows, after = reader.page(
            View((key,), was), View((key,), now), (), generation=state.generation, limit=PAGE_ROWS, after=after
        )
        bodies += [row.body or b"" for row in rows]
        if after is None:
            return bodies


def _fresh_rows(updates: list[tuple[str, str]]) -> list[RowChange]:
    """The same rows with another text of the same length."""
    changed = []
    for row_id, body in updates:
        other = body.swapcase()
        changed.append(RowChange("row", row_id, _version(other), 0, other))
    return changed


def _moves(homes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, without moves to where the row is, and one a publication."""
    kept: list[tuple[int, int]] = []
    for seq, home in sorted(dict(homes).items()):
        if not kept or kept[-1][1] != home:
            kept.append((seq, home))
    return kept


def _publication(seq: int) -> Publication:
    at = START + timedelta(seconds=15 * seq)
    return Publication(seq, at, at)


def _id(row: int) -> str:
    return f"ROW-{row:07}"


def _body(row: int, seq: int) -> str:
    return f'{{"rowId":"{_id(row)}","text":"{hashlib.sha256(f"{row} {seq}".encode()).hexdigest() * 9}"}}'


def _version(body: str) -> int:
    return int.from_bytes(hashlib.sha256(body.encode()).digest()[:8], "big")
