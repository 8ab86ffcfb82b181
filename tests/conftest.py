"""Options, markers and order for all tests."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator

import pytest

LONGEST_FIRST = ("tests/e2e/", "tests/distributed/", "tests/ui/", "tests/postgres/", "tests/delta_service/test_laws.py")
"""Begun first, so that at the end of a run on several cores only short files are left to share."""
STARTS_PROCESSES = ("e2e", "browser", "processes")
"""Markers of tests that ``make check`` leaves out."""


class ProcessWatch:
    """Fails a test that starts a process and does not say so by a marker: ``make check`` would run it."""

    def __init__(self) -> None:
        self.allowed = True
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in ("subprocess.Popen", "os.posix_spawn", "os.fork") and not self.allowed:
            raise AssertionError(f"This test starts a process {arguments[:1]}: mark it with pytest.mark.processes.")


_watch = ProcessWatch()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--e2e-seeds", default="1", help="seeds of the end-to-end test: 1,2,3 or random:COUNT")
    parser.addoption("--e2e-steps", type=int, default=200, help="changes in the CRM per seed of the end-to-end test")
    parser.addoption("--sync-kills", type=int, default=30, help="how often a sync under way is killed")
    parser.addoption("--kill-seconds", type=int, default=90, help="how long workers and services are killed")
    parser.addoption("--chaos-steps", type=int, default=160, help="changes in the CRM per seed of the chaos test")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.e2e_seeds.startswith("random:"):
        # All workers of a run must collect the same tests, so they draw the same seeds from the id of the run.
        drawn = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID"))
        count = int(config.option.e2e_seeds.removeprefix("random:"))
        config.option.e2e_seeds = ",".join(str(drawn.randrange(10**6)) for _ in range(count))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "e2e_seed" in metafunc.fixturenames:
        seeds = metafunc.config.getoption("--e2e-seeds")
        metafunc.parametrize("e2e_seed", [int(part) for part in seeds.split(",")])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest first."""

    def place(item: pytest.Item) -> int:
        return next((i for i, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder)), len(LONGEST_FIRST))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _watch.allowed = any(item.get_closest_marker(name) for name in STARTS_PROCESSES)
    try:
        return (yield)
    finally:
        _watch.allowed = True
