"""Dagster jobs for tests, each in a process of its own that need not import Dagster first.

A resident process has imported everything; each job is forked from it, so that ``kill -9`` is as real as ever and a job
costs what it does, without the seconds of import. It finds the definitions resolved, and an instance of Dagster, which
keeps the run's records in memory, as ``dagster job execute`` keeps them in a folder that it removes at the end.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

import orchestration

DEFINITIONS = "orchestration.definitions"
CATALOG_VARIABLE = "OBJECT_CATALOG"
"""What the definitions read when they are imported, and a job's run depends on."""
NOT_FOR_JOBS = "orchestration.celery"


class JobProcess:
    """A job under way, with the words of :class:`subprocess.Popen`. It leads a process group of its own."""

    def __init__(self, job: str, config_file: Path | None, environment: Mapping[str, str], log: Path) -> None:
        """``config_file`` is what ``dagster job execute -c`` takes; what is printed is appended to ``log``."""
        assert "TENANT" not in environment, "the tenant is read at import: use the command line"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._job = job
        self._process = context.Process(target=_execute, args=(job, config_file, dict(environment), log), daemon=True)
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
            raise subprocess.TimeoutExpired(self._job, timeout or 0.0)
        return code


def _execute(job: str, config_file: Path | None, environment: dict[str, str], log: Path) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(log.parent)
    definitions = importlib.import_module(DEFINITIONS)
    if CATALOG_VARIABLE in environment:
        importlib.reload(definitions)
    config: dict[str, Any] | None = yaml.safe_load(config_file.read_text()) if config_file else None
    with _instance() as instance:
        ready: dg.JobDefinition = definitions.defs.resolve_job_def(job)
        result = ready.execute_in_process(config, instance=instance, raise_on_error=False)
    sys.exit(0 if result.success else 1)


@cache
def _instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def _prepare() -> None:
    """Everything that is the same for all jobs; a forked one has a copy of its own."""
    for module in pkgutil.walk_packages(orchestration.__path__, "orchestration."):
        if not module.name.startswith(NOT_FOR_JOBS) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    with warnings.catch_warnings():
        # They would go to the terminal of whoever runs the tests.
        warnings.simplefilter("ignore")
        definitions: dg.Definitions = importlib.import_module(DEFINITIONS).defs
        definitions.resolve_all_job_defs()
    _instance()
    # Else each job's garbage collector would look through all of this, and so copy the memory that it shares.
    gc.freeze()


if multiprocessing.current_process().name == "MainProcess" and "pytest" not in sys.modules:
    # The resident process, which imports this module by name before it forks.
    _prepare()
