"""What one publication brings to the delta store: the writer's input, whatever engine stands behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

OPEN_SEQ = 2**53 - 1
"""``to_seq`` of an interval that has not ended; also the bound below which every ``seq`` stays."""


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """What the warehouse gives the store once: which history its cursors belong to, and what it serves."""

    epoch: str
    """Changes only when history was lost; a cursor of another epoch is refused."""
    cursor_key: bytes
    """Signs cursors; shared by every process that serves this store."""
    objects: Sequence[str]
    """Served objects, parents before children: the order of the answer's members."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One atomic step. ``seq`` is the previous one plus one, from 1 on."""

    seq: int
    as_of: datetime
    """Everything that changed in the CRM up to this time (UTC) is in."""
    published_at: datetime


class RowChange(NamedTuple):
    """A row with a new content, or (``body is None``) a row that no longer exists."""

    object: str
    row_id: str
    version: int | None
    """First 64 bits of SHA-256 of the body, as an unsigned integer (``_v`` is its 16 hex digits)."""
    digest: int | None
    """First 64 bits of SHA-256 of ``object|rowId|_v``, as an unsigned integer."""
    body: str | None
    """The row's JSON object exactly as served."""
    merged_into: str | None = None
    """For a row that ended in a merge: the survivor's id."""


class VisibilityChange(NamedTuple):
    """A row that enters (or leaves) a territory."""

    territory: str
    object: str
    row_id: str
    entered: bool


class TerritoryHead(NamedTuple):
    """Size and digest of one object in one territory, from this publication on."""

    territory: str
    object: str
    rows: int
    digest: int
    """Sum modulo 2**64 of the rows' digests."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Everything publication ``publication.seq`` changes. Iterables are read once, in the order of the fields.

    Their items may be plain tuples: of a million, making an object of each would cost as much as storing it.
    """

    publication: Publication
    rows: Iterable[RowChange]
    visibility: Iterable[VisibilityChange]
    heads: Iterable[TerritoryHead] = field(default=())


@dataclass(frozen=True, slots=True)
class RowInterval:
    """One version of a row in a full copy; ``body`` is None when only the digest is still kept."""

    object: str
    row_id: str
    from_seq: int
    to_seq: int
    version: int
    digest: int
    body: str | None
    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class VisibilityInterval:
    territory: str
    object: str
    row_id: str
    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class HeadInterval:
    """A :class:`TerritoryHead` with the publication it holds from."""

    seq: int
    head: TerritoryHead


@dataclass(frozen=True, slots=True)
class FullCopy:
    """The whole history inside the horizon: what a store is rebuilt from. Iterables are read once, in this order."""

    identity: StoreIdentity
    horizon_seq: int
    """Cursors below it cannot be answered; 0 when all history is there."""
    publications: Iterable[Publication]
    rows: Iterable[RowInterval]
    visibility: Iterable[VisibilityInterval]
    heads: Iterable[HeadInterval]
