"""Times as the store keeps them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (time - EPOCH_START) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    return EPOCH_START + timedelta(microseconds=microseconds)
