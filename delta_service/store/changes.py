"""What one publication brings to the delta store: the writer's input, whatever engine stands behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    # Only who writes needs them: the service starts, and stays, without.
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Values = Sequence[str] | npt.NDArray[np.int64]
    """A list that is handed to the engine whole."""

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


class TerritoryHeld(NamedTuple):
    """How many rows of one object are held in one territory, from this publication on."""

    territory: str
    object: str
    rows: int
    """0: none any more."""
    since: datetime
    """When the first of them was held (UTC)."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Everything publication ``publication.seq`` changes. Iterables are read once, in the order of the fields.

    Their items may be plain tuples. Moves, of which there may be a million, come as columns: making Python values of
    each would cost as much as storing it.
    """

    publication: Publication
    rows: Iterable[RowChange]
    visibility: pa.Table
    """The fields of :class:`VisibilityChange` as columns, best in the order of object and row."""
    heads: Iterable[TerritoryHead] = field(default=())
    held: Iterable[TerritoryHeld] = field(default=())
    """Those that differ from the publication before."""


class CopiedRow(NamedTuple):
    """A row of a full copy. Rows are numbered from 1 in the order they are given."""

    object: str
    row_id: str
    merged_into: str | None = None


class CopiedBody(NamedTuple):
    """A text of a full copy, numbered as the source likes; ascending numbers are stored fastest."""

    number: int
    body: bytes


class RowInterval(NamedTuple):
    """One version of a row in a full copy."""

    row: int
    """Number of the row."""
    from_seq: int
    to_seq: int
    version: int
    digest: int
    body: int | None
    """Number of its text, None when only the digest is still kept."""


class VisibilityInterval(NamedTuple):
    territory: str
    object: str
    row: int
    """Number of the row."""
    from_seq: int
    to_seq: int
    touched_seq: int
    """The end if it has ended, else its start or the newest change of the row's content, whichever is later."""


class HeadInterval(NamedTuple):
    """A :class:`TerritoryHead` with the publication it holds from."""

    territory: str
    object: str
    seq: int
    rows: int
    digest: int


@dataclass(frozen=True, slots=True)
class FullCopy:
    """The whole history inside the horizon: what a store is rebuilt from.

    Iterables are read once, in this order, and their items may be plain tuples. They are stored fastest when rows come
    by object and id, versions by row and start, intervals by territory, row and start.
    """

    identity: StoreIdentity
    horizon_seq: int
    """Cursors below it cannot be answered; 0 when all history is there."""
    publications: Iterable[Publication]
    rows: Iterable[CopiedRow]
    bodies: Iterable[CopiedBody]
    versions: Iterable[RowInterval]
    visibility: Iterable[VisibilityInterval]
    heads: Iterable[HeadInterval]
    held: Iterable[TerritoryHeld] = field(default=())
    """As of the newest publication."""
