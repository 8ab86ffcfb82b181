"""Which territories to mark in Dagster as changed: those that publications changed since the last marks, and some more.

An event of a partition costs 15 ms and 5 KB, so syncs write none; this plans a bounded number for once an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.pipeline.warehouse import read_state, statement, write_state

STAMPS_PER_HOUR = 1000
"""The rest follows in the next hours, in the order of the changes."""
HOURS_PER_ROUND = 168
"""Unchanged territories are stamped once a week, so that no old run must be kept for the sake of its stamps."""


@dataclass(frozen=True)
class Stamp:
    """A territory as it is. ``changed_at`` is UTC without zone; ``fresh`` if it changed since the last stamps."""

    territory: str
    name: str | None
    rows: int
    changed_by: int
    changed_at: datetime
    fresh: bool


def due_stamps(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[Stamp]:
    """Territories changed since the last stamps, oldest change first, and those whose hour of the week it is."""
    parameters = {
        "open": OPEN_SEQ,
        "stamped_seq": int(read_state(connection, "stamped_seq") or 0),
        "hour": int(now.timestamp() // 3600) % HOURS_PER_ROUND,
        "hours": HOURS_PER_ROUND,
        "limit": STAMPS_PER_HOUR,
    }
    return [Stamp(*row) for row in connection.execute(statement("due_stamps"), parameters).fetchall()]


def stamped_up_to(connection: duckdb.DuckDBPyConnection, stamps: Sequence[Stamp]) -> None:
    """Remember how far the stamps came. Killed before this, the job writes some of them again."""
    newest = max((stamp.changed_by for stamp in stamps if stamp.fresh), default=None)
    if newest is not None:
        write_state(connection, "stamped_seq", str(newest))
