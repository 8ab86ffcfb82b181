"""What is held, for people: since when, how many of how many, why, and where the rows would go. No personal data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.pipeline.warehouse import statement
from orchestration.pipeline.wording import called

REASONS = (
    "not returned by the CRM, no delete known",
    "their field or list came back blank",
    "name a territory or parent that is not known",
    "linked to rows that the CRM no longer returns",
    "read in an older state than known",
    "moved, not announced",
    "stay with their parent",
)
"""In the order of the statement's columns."""


@dataclass(frozen=True)
class HeldTerritory:
    """What one territory keeps only because it is held."""

    territory: str
    name: str | None
    since: datetime
    held_rows: int
    rows: int
    reasons: tuple[tuple[str, int], ...]
    targets: str | None
    """Where the newest readings put the rows, with counts; None where they name no place."""
    sample: Sequence[tuple[str, str]]
    """Object and id."""

    @property
    def called(self) -> str:
        return called(self.territory, self.name)

    @property
    def why(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.reasons)

    @property
    def sentence(self) -> str:
        since = f"since {self.since:%Y-%m-%d %H:%M} UTC"
        return f"{self.called}: {self.held_rows} of {self.rows} rows held {since} ({self.why})"


def held_territories(connection: duckdb.DuckDBPyConnection) -> list[HeldTerritory]:
    """The territories with the most held rows first."""
    found = connection.execute(statement("held_territories"), {"open": OPEN_SEQ}).fetchall()
    return [
        HeldTerritory(
            territory, name, since, held_rows, rows or 0,
            tuple((reason, count) for reason, count in zip(REASONS, counts, strict=True) if count),
            targets, sample,
        )
        for territory, name, since, held_rows, rows, *counts, targets, sample in found
    ]  # fmt: skip
