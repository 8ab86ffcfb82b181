"""P8 ``long absence``: what a device gets that was away for 3, 30 or 300 days of a publication each 15 s.

The history is written straight into interval tables: 20 territories of 2,000 rows, of which 40 a territory and day get
another text and 10 move. The reference is a fresh delta, of one publication, in a store of the same history: as many
inserts, updates and deletions, bodies of the same length.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import NamedTuple

from benchmarks.cost import Cost, compared, cost
from benchmarks.results import Measurement
from delta_service.store.changes import (
    OPEN_SEQ,
    ChangeSet,
    CopiedBody,
    CopiedRow,
    FullCopy,
    Publication,
    RowChange,
    RowInterval,
    StoreIdentity,
    VisibilityChange,
    VisibilityInterval,
)
from delta_service.store.moves import visibility_table
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
        versions = list(self._versions())
        visibility = sorted(
            VisibilityInterval(
                f"T{home}",
                "row",
                row + 1,
                since,
                until,
                until if until < OPEN_SEQ else max(since, self.contents[row][-1]),
            )
            for row, homes in enumerate(self.homes)
            for (since, home), until in zip(homes, [*(s for s, _ in homes[1:]), OPEN_SEQ], strict=True)
        )
        return FullCopy(
            IDENTITY,
            horizon_seq=0,
            publications=(_publication(seq) for seq in range(1, NEWEST_SEQ + 1)),
            rows=(CopiedRow("row", _id(row)) for row in range(len(self.homes))),
            bodies=(CopiedBody(v.body, _body(v.row - 1, v.from_seq).encode()) for v in versions if v.body is not None),
            versions=versions,
            visibility=visibility,
            heads=(),
        )

    def _versions(self) -> Iterator[RowInterval]:
        bodies = count(1)
        for row, seqs in enumerate(self.contents):
            for since, until in zip(seqs, [*seqs[1:], OPEN_SEQ], strict=True):
                kept = next(bodies) if until > BODIES_FROM_SEQ else None
                yield RowInterval(row + 1, since, until, _version(_body(row, since)), 0, kept)


class Delta(NamedTuple):
    """What a territory's view differs by, by row id."""

    inserted: dict[str, str]
    updated: dict[str, str]
    deleted: set[str]

    @classmethod
    def between(cls, was: dict[str, str], now: dict[str, str]) -> Delta:
        return cls(
            {id_: body for id_, body in now.items() if id_ not in was},
            {id_: body for id_, body in now.items() if id_ in was and was[id_] != body},
            was.keys() - now.keys(),
        )


def absence() -> list[Measurement]:
    """One territory's delta for each age, checked against the history, and timed beside a fresh one."""
    history = History()
    now = history.view(0, NEWEST_SEQ)
    since = {age: max(1, NEWEST_SEQ - age * PUBLICATIONS_A_DAY) for age in AGES_DAYS}
    deltas = {age: Delta.between(history.view(0, seq), now) for age, seq in since.items()}
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path, copy = Path(folder) / "delta.sqlite", Path(folder) / "fresh.sqlite"
        with DeltaStoreWriter(path) as writer:
            writer.replace(history.full_copy())
        other = DeltaStoreWriter(copy)
        other.replace(history.full_copy())
        ours, theirs = DeltaStoreReader(path), DeltaStoreReader(copy)
        # Each is read before the next is published: what was touched later costs an older question something too.
        for age, fresh_seq in _publish_fresh(other, history, deltas):
            delta = deltas[age]
            sent = _read(ours, since[age], NEWEST_SEQ)
            bodies = [*delta.inserted.values(), *delta.updated.values()]
            assert sorted(body for body in sent if body) == sorted(body.encode() for body in bodies)
            assert sum(not body for body in sent) == len(delta.deleted)
            assert [len(body) for body in sorted(sent)] == [
                len(body) for body in sorted(_read(theirs, fresh_seq - 1, fresh_seq))
            ]
            our_costs: list[Cost] = []
            their_costs: list[Cost] = []
            for _ in range(ROUNDS):
                our_costs.append(cost(lambda was=since[age]: _read(ours, was, NEWEST_SEQ)))  # type: ignore[misc]
                their_costs.append(cost(lambda seq=fresh_seq: _read(theirs, seq - 1, seq)))  # type: ignore[misc]
            size = sum(len(body) for body in sent)
            kinds = f"{len(delta.inserted)} inserts, {len(delta.updated)} updates, {len(delta.deleted)} deletions"
            what = f"absence of {age} days: {kinds}, {size} bytes = net change"
            found += compared(what, our_costs, "fresh delta of the same", their_costs)
        ours.close()
        theirs.close()
        other.close()
    return found


def _publish_fresh(writer: DeltaStoreWriter, history: History, deltas: dict[int, Delta]) -> Iterator[tuple[int, int]]:
    """A publication for each age that changes territory T0 by as much: ages and the publications' numbers."""
    members = sorted(history.view(0, NEWEST_SEQ))
    others = [_id(row) for row, homes in enumerate(history.homes) if homes[-1][1] != 0]
    # So many that all can leave and change: after 300 days hardly a row is as it was.
    members, others = members + others[:ROWS_A_TERRITORY], others[ROWS_A_TERRITORY:]
    grown = [VisibilityChange("T0", "row", row_id, entered=True) for row_id in members[-ROWS_A_TERRITORY:]]
    writer.apply(ChangeSet(_publication(NEWEST_SEQ + 1), (), visibility_table(grown)))
    for seq, (age, delta) in enumerate(deltas.items(), NEWEST_SEQ + 2):
        entering, others = others[: len(delta.inserted)], others[len(delta.inserted) :]
        leaving, members = members[: len(delta.deleted)], members[len(delta.deleted) :]
        changed = []
        for row_id in [*entering, *members[: len(delta.updated)]]:
            body = _body(int(row_id.removeprefix("ROW-")), seq)
            changed.append(RowChange("row", row_id, _version(body), 0, body))
        moves = [VisibilityChange("T0", "row", row_id, entered=False) for row_id in leaving]
        moves += [VisibilityChange("T0", "row", row_id, entered=True) for row_id in entering]
        writer.apply(ChangeSet(_publication(seq), changed, visibility_table(moves)))
        members += entering
        yield age, seq


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
