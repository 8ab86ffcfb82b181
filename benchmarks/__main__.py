"""``python -m benchmarks [scenario]``: measure, print a table, keep the figures in ``benchmarks/results/``.

Of several, or all, each runs in a process of its own: none is charged for the memory that one before it took.
"""

from __future__ import annotations

import subprocess
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
    if unknown := [name for name in names if name not in SCENARIOS]:
        print(f"unknown scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    if len(names) > 1:
        for name in names:
            subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)
        return 0
    (name,) = names
    measurements = SCENARIOS[name]()
    save(name, measurements)
    print(f"\n{name}\n\n{table(measurements)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
