"""Servers under test as processes on one core, and what they cost: CPU seconds and memory from ``/proc``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """Something that listens on loopback. ``pids`` names the roots of its process trees."""

    port: int
    pids: tuple[int, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Of all its processes, user and system, since they started."""
        return sum(_cpu_seconds(pid) for pid in self.tree())

    def memory_kib(self) -> int:
        """Unshared memory of all its processes now."""
        return sum(_smaps(pid, "Private_Clean", "Private_Dirty") for pid in self.tree())

    def forget_peak(self) -> None:
        """Let :meth:`peak_kib` begin anew."""
        for pid in self.tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_kib(self) -> int:
        """The largest resident size that one of the processes has had."""
        return max(_status_kib(pid, "VmHWM") for pid in self.tree())

    def tree(self) -> list[int]:
        found, left = [], list(self.pids)
        while left:
            pid = left.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                left += map(int, task.read_text().split())
        return found


@contextmanager
def running(
    command: Sequence[object],
    port: int,
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    core: int | None = SERVER_CORE,
) -> Iterator[Server]:
    """A server process, pinned, in a process group of its own; ready when it accepts connections."""
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*pin, *map(str, command)],
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _listens(port), 60, f"{command[0]} listens (its log: {log})")
        yield Server(port, (process.pid,))
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it and its children to end, then make them."""
    for wish, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 15)):
        try:
            os.killpg(process.pid, wish)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def _smaps(pid: int, *names: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
