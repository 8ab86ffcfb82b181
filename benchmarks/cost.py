"""What a piece of work takes, in time and in processor time: on a shared machine only the latter repeats."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Measurement


@dataclass(frozen=True)
class Cost:
    """``cpu_seconds`` are of all threads of this process; waits for the disk are in ``seconds`` only."""

    seconds: float
    cpu_seconds: float


def cost(work: Callable[[], object]) -> Cost:
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - started, time.process_time() - cpu_started)


def compared(what: str, ours: Sequence[Cost], reference_name: str, reference: Sequence[Cost]) -> list[Measurement]:
    """One row for time, and one for processor time."""
    return [
        Measurement(what, "s", [c.seconds for c in ours], reference_name, [c.seconds for c in reference]),
        Measurement(what, "CPU s", [c.cpu_seconds for c in ours], reference_name, [c.cpu_seconds for c in reference]),
    ]


def reset_peak_memory() -> None:
    """Let :func:`peak_memory_mib` count from here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mib() -> int:
    """The process's largest resident size since the reset, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("the kernel does not tell VmHWM")
