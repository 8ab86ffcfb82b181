"""What a scenario measured, beside its reference of the same run."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measurement:
    """Ours and the reference, round by round, alternating."""

    what: str
    unit: str
    ours: list[float]
    reference_name: str
    reference: list[float]

    @property
    def ratio(self) -> float:
        """Median of the ratios of each round."""
        return statistics.median(a / b for a, b in zip(self.ours, self.reference, strict=True))


def table(measurements: list[Measurement]) -> str:
    lines = ["| what | ours: median (min-max) | reference | its median (min-max) | ratio |", "|---|---|---|---|---|"]
    lines += [
        f"| {m.what} | {_spread(m.ours, m.unit)} | {m.reference_name} | {_spread(m.reference, m.unit)}"
        f" | {m.ratio:.2f} |"
        for m in measurements
    ]
    return "\n".join(lines)


def save(scenario: str, measurements: list[Measurement]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{scenario}.json").write_text(json.dumps([asdict(m) for m in measurements], indent=1))


def _spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.3f} {unit} ({min(values):.3f}-{max(values):.3f})"
