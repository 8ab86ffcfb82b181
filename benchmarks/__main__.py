"""``python -m benchmarks [scenario]``: measure, print a table, keep the figures in ``benchmarks/results/``."""

from __future__ import annotations

import sys

from benchmarks import absence, derive, disk, event_log, full_load, ingest, paging, steps
from benchmarks.results import save, table
from benchmarks.serving import SCENARIOS as SERVING

SCENARIOS = {
    "realign": derive.realign,
    "trickle": derive.trickle,
    "ingest": ingest.ingest,
    "full_load": full_load.full_load,
    "absence": absence.absence,
    "paging": paging.paging,
    "disk": disk.disk,
    "steps": steps.steps,
    **SERVING,
    # The longest by far.
    "event_log": event_log.event_log,
}


def main() -> int:
    names = sys.argv[1:] or list(SCENARIOS)
    for name in names:
        if name not in SCENARIOS:
            print(f"unknown scenario {name}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
            return 2
        measurements = SCENARIOS[name]()
        save(name, measurements)
        print(f"\n{name}\n\n{table(measurements)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
