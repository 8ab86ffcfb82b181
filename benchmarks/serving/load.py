"""The load: wrk on a core of its own, sending prepared requests; and its figures beside the server's CPU time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.processes import LOAD_CORE, Server
from benchmarks.serving.tools import command

SCRIPT = Path(__file__).with_name("requests.lua")


class Request(NamedTuple):
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Load:
    """One run against one server."""

    requests: int
    per_second: float
    bytes_per_request: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """CPU time of the server's processes, a request; NaN-free only when nothing else asked meanwhile."""


class LoadError(RuntimeError):
    """Requests were refused or failed: the figures would be of something else."""


def write_requests(path: Path, requests: Sequence[Request]) -> Path:
    lines = ("\t".join([path, *(f"{name}: {value}" for name, value in headers.items())]) for path, headers in requests)
    path.write_text("\n".join(lines) + "\n")
    return path


def start(
    server: Server, requests: Path, *, connections: int, seconds: float, pause_ms: int | None = None
) -> subprocess.Popen[str]:
    """With pauses it comes before another load on their core, for whose slice of time it would wait otherwise."""
    whole = ["taskset", "--cpu-list", str(LOAD_CORE), command("wrk"), "--threads", "1"]
    if pause_ms is not None and os.geteuid() == 0:
        whole = ["chrt", "--fifo", "1", *whole]
    whole += ["--connections", str(connections), "--duration", f"{seconds:g}s", "--timeout", "20s"]
    whole += ["--script", str(SCRIPT), server.url, "--", str(requests)]
    if pause_ms is not None:
        whole.append(str(pause_ms))
    return subprocess.Popen(whole, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], cpu_seconds: float = 0.0) -> Load:
    """Raises LoadError where an answer was no success."""
    output, _ = process.communicate()
    line = next((line for line in output.splitlines() if line.startswith("RESULT")), None)
    if line is None:
        raise LoadError(f"wrk ended with {process.returncode}: {output}")
    count, duration_us, size, failed, p50_us, p99_us = map(int, line.split()[1:])
    if failed or not count:
        raise LoadError(f"{failed} of {count} requests failed")
    return Load(count, count / duration_us * 1e6, size / count, p50_us / 1e3, p99_us / 1e3, cpu_seconds / count * 1e6)


def measure(server: Server, requests: Path, *, connections: int, seconds: int, pause_ms: int | None = None) -> Load:
    before = server.cpu_seconds()
    process = start(server, requests, connections=connections, seconds=seconds, pause_ms=pause_ms)
    process.wait()
    return finish(process, server.cpu_seconds() - before)
