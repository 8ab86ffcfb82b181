"""The serving half of the performance contract: P1 to P3, P7, P10 and P11, each beside its reference."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.results import Measurement
from benchmarks.serving import freshness, others, snapshot, storm, throughput, waiters

SCENARIOS: dict[str, Callable[[], list[Measurement]]] = {
    "poll": throughput.poll,
    "delta": throughput.delta,
    "others": others.others,
    "snapshot": snapshot.snapshot,
    "freshness": freshness.freshness,
    "storm": storm.storm,
    "waiters": waiters.waiters,
}
