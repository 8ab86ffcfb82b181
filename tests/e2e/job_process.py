"""Dagster jobs for tests, each in a process of its own that need not import Dagster first.

A resident process has imported everything; each job is forked from it, so that ``kill -9`` is as real as ever and a job
costs what it does, without the seconds of import. The command line is the one that users type: what runs in the fork is
the installed command ``dagster``, with the same arguments, environment, folder and log.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import orchestration

READS_ENVIRONMENT = "orchestration.definitions"
"""Imported by each job for itself: it reads the catalog that the job's environment names."""
NOT_FOR_JOBS = ("orchestration.celery", "orchestration.inspect", READS_ENVIRONMENT)


class JobProcess:
    """A job under way, with the words of :class:`subprocess.Popen`. It leads a process group of its own."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        """``arguments`` follow ``dagster``; what is printed is appended to ``log``."""
        assert "TENANT" not in environment, "the tenant is read at import: use the command line"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._process = context.Process(
            target=_run, args=(list(arguments), dict(environment), str(folder), str(log)), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def kill(self) -> None:
        """As a crash would end it: at once, with all that it started, and no chance to clean up."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            # It ended before, or was struck before it led a group.
            if self.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises :class:`subprocess.TimeoutExpired` after ``timeout`` seconds."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("dagster", timeout or 0.0)
        return code


def _run(arguments: list[str], environment: dict[str, str], folder: str, log: str) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["dagster", *arguments]
    (command,) = entry_points(group="console_scripts", name="dagster")
    sys.exit(command.load()())


def _import_all() -> None:
    for module in pkgutil.walk_packages(orchestration.__path__, "orchestration."):
        if not module.name.startswith(NOT_FOR_JOBS) and "__main__" not in module.name:
            importlib.import_module(module.name)
    (command,) = entry_points(group="console_scripts", name="dagster")
    command.load()


if multiprocessing.current_process().name == "MainProcess" and "pytest" not in sys.modules:
    # The resident process: it imports this module by name before it forks.
    _import_all()
