"""What the reader is asked about and answers with: views, rows, and the state of the store. Values only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Total:
    """Size and digest of one object in a view; ``digest`` is an unsigned 64-bit sum."""

    rows: int
    digest: int


NOTHING = Total(0, 0)


class HeldRows(NamedTuple):
    """Rows of one object that the pipeline's guard holds: they are as they were, and may be outdated."""

    object: int
    """The object's key."""
    rows: int
    since: datetime
    """When the first of them was held (UTC)."""


@dataclass(frozen=True, slots=True)
class Territory:
    key: int
    """Valid within a generation of the store only."""
    id: str
    name: str | None
    touched_seq: int
    """The newest publication that changed what the territory sees; 0 if none did."""
    totals: tuple[Total, ...]
    """Per object, in the order of the store's objects, at the newest publication."""
    held: tuple[HeldRows, ...]
    """By object, at the newest publication; empty nearly always."""
    held_seq: int
    """The publication with which :attr:`held` became what it is, or a later one; 0 if nothing is known to be held.

    The store does not keep it, and a service that has just started takes the newest: better told twice than never.
    """


@dataclass(frozen=True, slots=True)
class StoreState:
    """What the store holds now, small enough to keep in memory."""

    epoch: str
    cursor_key: bytes = field(repr=False)
    generation: str
    objects: tuple[str, ...]
    published_seq: int
    horizon_seq: int
    body_horizon_seq: int
    as_of: datetime
    published_at: datetime
    territories: Mapping[str, Territory]
    """By id."""
    ids_by_name: Mapping[str, str]
    """Names that exactly one territory has."""
    is_replica: bool
    """Whether there may be later publications, which are not here yet."""


class View(NamedTuple):
    """What territories (by key) see at a publication."""

    territories: Collection[int]
    seq: int


class Position(NamedTuple):
    """A row's place in the order of a delta; valid within a generation of the store only."""

    object: int
    row_key: int


class DeltaRow(NamedTuple):
    """One operation: an insert or update with a body, or (``body`` is None) a deletion with the row's id."""

    object: int
    row_key: int
    was_visible: int
    version: int | None
    """Signed; see ``schema.unsigned``."""
    body: bytes | None
    row_id: str | None
    merged_into: str | None
    still_exists: int | None
    """Of a deletion: whether the row exists still, out of the view's sight."""


class Content(NamedTuple):
    """A row of a view, without its body. ``version`` and ``digest`` are signed; see ``schema.unsigned``."""

    object: int
    row_key: int
    row_id: str
    version: int
    digest: int
    body_key: int | None
    """None when the body is no longer kept."""


class RowText(NamedTuple):
    """A version with its text. ``version`` and ``digest`` are signed; see ``schema.unsigned``."""

    row_key: int
    from_seq: int
    object: int
    row_id: str
    version: int
    digest: int
    body: bytes | None


class RowHistory(NamedTuple):
    """All that is kept about one row: its versions and the intervals in which territories saw it, oldest first."""

    merged_into: str | None
    versions: list[tuple[int, int, int, int]]
    """(from_seq, to_seq, signed version, whether the body is kept)"""
    intervals: list[tuple[str, int, int]]
    """(territory id, from_seq, to_seq)"""
