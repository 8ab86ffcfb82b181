"""How times and territories are put into sentences."""

from __future__ import annotations

from datetime import timedelta


def age_in_words(age: timedelta) -> str:
    """Such as 40 s, 12 min, 3 h or 2 days."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def called(territory: str, name: str | None) -> str:
    """How people call a territory, with its id."""
    return f"{name} ({territory})" if name else territory
