"""A naive delta store in dictionaries: what the real one is held against. Every publication keeps its whole world."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from delta_service.store.changes import (
    OPEN_SEQ,
    ChangeSet,
    CopiedBody,
    CopiedRow,
    FullCopy,
    HeadInterval,
    Publication,
    RowChange,
    RowInterval,
    StoreIdentity,
    TerritoryHead,
    VisibilityChange,
    VisibilityInterval,
)
from delta_service.store.moves import visibility_table

OBJECTS = ("account", "contact", "order")
START = datetime(2026, 11, 24, 6, tzinfo=UTC)
IDENTITY = StoreIdentity("epoch-1", b"0123456789abcdef0123456789abcdef", OBJECTS)

Row = tuple[str, str]
"""(object, row id)"""


def body_of(row: Row, content: object) -> str:
    return f'{{"{row[0]}Id":"{row[1]}","name":"content {content}"}}'


def hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def version_of(body: str) -> int:
    return hash64(body)


def digest_of(row: Row, body: str) -> int:
    return hash64(f"{row[0]}|{row[1]}|{version_of(body):016x}")


@dataclass(frozen=True)
class World:
    """All rows with their bodies, and which territory sees which rows."""

    bodies: Mapping[Row, str] = field(default_factory=dict)
    seen: frozenset[tuple[str, Row]] = frozenset()

    def view(self, territories: Iterable[str]) -> dict[Row, str]:
        scope = set(territories)
        return {row: self.bodies[row] for territory, row in self.seen if territory in scope}

    def heads(self, territories: Iterable[str]) -> dict[tuple[str, str], tuple[int, int]]:
        heads = {}
        for territory in territories:
            view = self.view([territory])
            for name in OBJECTS:
                digests = [digest_of(row, body) for row, body in view.items() if row[0] == name]
                heads[territory, name] = (len(digests), sum(digests) % 2**64)
        return heads


def published_at(seq: int) -> datetime:
    return START + timedelta(seconds=15 * seq)


def publication(seq: int) -> Publication:
    return Publication(seq, published_at(seq) - timedelta(seconds=4), published_at(seq))


def change_set(
    seq: int, before: World, after: World, territories: Iterable[str], merged: Mapping[Row, str] | None = None
) -> ChangeSet:
    """What turns one world into the next."""
    changed = [(row, body) for row, body in after.bodies.items() if before.bodies.get(row) != body]
    ended = [row for row in before.bodies if row not in after.bodies]
    rows = [RowChange(*row, version_of(body), digest_of(row, body), body) for row, body in changed]
    rows += [RowChange(*row, None, None, None, (merged or {}).get(row)) for row in ended]
    visibility = [VisibilityChange(territory, *row, entered=True) for territory, row in after.seen - before.seen]
    visibility += [VisibilityChange(territory, *row, entered=False) for territory, row in before.seen - after.seen]
    old = before.heads(territories)
    heads = [TerritoryHead(*key, *head) for key, head in after.heads(territories).items() if old[key] != head]
    return ChangeSet(publication(seq), rows, visibility_table(visibility), heads)


def full_copy(worlds: list[World], territories: Iterable[str], identity: StoreIdentity = IDENTITY) -> FullCopy:
    """The history of worlds (``worlds[seq]``) as intervals."""
    territories = list(territories)
    rows: list[CopiedRow] = []
    bodies: list[CopiedBody] = []
    versions: list[RowInterval] = []
    visibility: list[VisibilityInterval] = []
    heads: list[HeadInterval] = []
    changed_seq = {}
    for number, row in enumerate(sorted({row for world in worlds for row in world.bodies}), start=1):
        rows.append(CopiedRow(*row))
        for start, end, body in _runs([world.bodies.get(row) for world in worlds]):
            bodies.append(CopiedBody(len(bodies) + 1, body.encode()))
            versions.append(RowInterval(number, start, end, version_of(body), digest_of(row, body), len(bodies)))
            changed_seq[row] = number, (start if end == OPEN_SEQ else end)
    for territory, row in sorted({pair for world in worlds for pair in world.seen}):
        number, changed = changed_seq[row]
        for start, end, _ in _runs([("seen" if (territory, row) in world.seen else None) for world in worlds]):
            touched = max(start, changed) if end == OPEN_SEQ else end
            visibility.append(VisibilityInterval(territory, row[0], number, start, end, touched))
    for seq in range(1, len(worlds)):
        old, new = worlds[seq - 1].heads(territories), worlds[seq].heads(territories)
        heads += [HeadInterval(*key, seq, *new[key]) for key in new if new[key] != old[key]]
    publications = [publication(seq) for seq in range(1, len(worlds))]
    return FullCopy(identity, 0, publications, rows, bodies, versions, visibility, heads)


def _runs(values: list[str | None]) -> Iterable[tuple[int, int, str]]:
    """Maximal runs of one value, as (first index, index after the last or OPEN_SEQ, value)."""
    start = 0
    for seq in range(1, len(values) + 1):
        if seq == len(values) or values[seq] != values[start]:
            if (value := values[start]) is not None:
                yield start, (OPEN_SEQ if seq == len(values) else seq), value
            start = seq
