"""What a scenario measured, beside its reference of the same run."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measurement:
    """Ours and the reference, round by round, alternating; or (no reference figures) ours beside a fixed target."""

    what: str
    unit: str
    ours: list[float]
    reference_name: str
    reference: list[float]

    @property
    def ratios(self) -> list[float]:
        """Of each round; empty without a reference."""
        return [a / b for a, b in zip(self.ours, self.reference, strict=True)] if self.reference else []


def table(measurements: list[Measurement]) -> str:
    lines = ["| what | ours: median (min-max) | reference | its median (min-max) | ratios |", "|---|---|---|---|---|"]
    lines += [
        f"| {m.what} | {_spread(m.ours, m.unit)} | {m.reference_name} | {_spread(m.reference, m.unit)}"
        f" | {_spread(m.ratios, '')} |"
        for m in measurements
    ]
    return "\n".join(lines)


def save(scenario: str, measurements: list[Measurement]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{scenario}.json").write_text(json.dumps([asdict(m) for m in measurements], indent=1))


def _spread(values: list[float], unit: str) -> str:
    """Median, smallest and largest, to three places."""
    if not values:
        return "-"
    return f"{statistics.median(values):.3f} {unit} ({min(values):.3f}-{max(values):.3f})"
