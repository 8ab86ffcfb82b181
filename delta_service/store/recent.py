"""What lately changed in a view: its difference from any recent publication on, told from memory.

A row differs from now in the same way for all publications between two changes of it. So the difference of the whole
view changes at a few publications only, and all that lie between two of them have the same answer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from delta_service.store.views import DeltaRow

ROW_OVERHEAD_BYTES = 1_000


class RecentRow(NamedTuple):
    """A row that changed lately, and what is kept of it back to a publication."""

    object: int
    row_key: int
    row_id: str
    merged_into: str | None
    body: bytes | None
    """None where it has no content now."""
    intervals: list[tuple[int, int]]
    """(from_seq, to_seq) in which one of the view's territories sees it; those of several may overlap."""
    versions: list[tuple[int, int, int]]
    """(from_seq, to_seq, signed version), in any order."""


class _Operations(NamedTuple):
    """What brings a device up to date with one row, by the publication the device is at."""

    starts: list[int]
    rows: list[DeltaRow | None]
    """From the start at the same place on; None where nothing is to be done."""

    def at(self, seq: int) -> DeltaRow | None:
        return self.rows[bisect_right(self.starts, seq) - 1]


@dataclass(frozen=True, slots=True)
class Recent:
    """The differences between a view and its earlier selves."""

    starts: list[int]
    """Publications from which on the difference is another one, in order; before the first it is not known."""
    size_bytes: int
    _operations: list[_Operations]

    @property
    def row_count(self) -> int:
        """How many rows are known to have changed."""
        return len(self._operations)

    def start_of(self, seq: int) -> int | None:
        """The earliest publication with the same difference, so that it names them all; None where it is not known."""
        place = bisect_right(self.starts, seq)
        return self.starts[place - 1] if place else None

    def difference(self, seq: int) -> list[DeltaRow]:
        """What differs since a publication that is known, in (object, row) order."""
        rows = (operations.at(seq) for operations in self._operations)
        return [row for row in rows if row is not None]


def nothing_known(now_seq: int) -> Recent:
    """For a view of which too much changed: it does not differ from itself, and about earlier ones nothing is said."""
    return Recent([now_seq], ROW_OVERHEAD_BYTES, [])


def recent_of(rows: Iterable[RecentRow], since_seq: int, now_seq: int) -> Recent:
    """From all rows that changed after ``since_seq``, in (object, row) order."""
    operations, size_bytes = [], ROW_OVERHEAD_BYTES
    for row in rows:
        operations.append(_operations(row, since_seq, now_seq))
        size_bytes += len(row.body or b"") + ROW_OVERHEAD_BYTES
    starts = sorted({since_seq}.union(*(each.starts for each in operations)))
    return Recent(starts, size_bytes, operations)


def _operations(row: RecentRow, since_seq: int, now_seq: int) -> _Operations:
    steps = _steps(row, since_seq, now_seq)
    _, exists, now = steps[-1]
    insert = DeltaRow(row.object, row.row_key, 0, now, row.body, None, None, None)
    update = insert._replace(was_visible=1)
    still_exists = 0 if exists is None else 1
    deletion = DeltaRow(row.object, row.row_key, 1, None, None, row.row_id, row.merged_into, still_exists)
    found = _Operations([], [])
    for seq, _, was in steps:
        if was == now:
            operation = None
        elif now is None:
            operation = deletion
        else:
            operation = insert if was is None else update
        if not found.rows or operation is not found.rows[-1]:
            found.starts.append(seq)
            found.rows.append(operation)
    return found


def _steps(row: RecentRow, since_seq: int, now_seq: int) -> list[tuple[int, int | None, int | None]]:
    """The row's version as such and in the view (None: there is none), from ``since_seq`` on at each change."""
    lasting = [version for version in row.versions if version[1] > since_seq]
    versions: dict[int, int | None] = {to_seq: None for _, to_seq, _ in lasting}
    versions |= {max(from_seq, since_seq): version for from_seq, _, version in lasting}
    seeing: dict[int, int] = defaultdict(int)
    for from_seq, to_seq in row.intervals:
        seeing[max(from_seq, since_seq)] += 1
        seeing[to_seq] -= 1
    steps = []
    version, seen_by = None, 0
    for seq in sorted({since_seq, *versions, *seeing}):
        if seq > now_seq:
            break
        version = versions.get(seq, version)
        seen_by += seeing.get(seq, 0)
        steps.append((seq, version, version if seen_by else None))
    return steps
