"""The small system that most end-to-end tests use, loaded and published, without a guard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.steps import NO_GUARD
from tests.e2e.system import System, running_system


@contextmanager
def loaded_system(home: Path) -> Iterator[System]:
    with running_system(home, **NO_GUARD) as made:
        made.start_crm(accounts=60, territories=3, seed=5)
        made.run_job("full_load")
        made.start_service()
        made.wait_published()
        yield made


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One for all tests of a file, which change it in turn."""
    with loaded_system(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def fresh_system(tmp_path: Path) -> Iterator[System]:
    """One for a single test."""
    with loaded_system(tmp_path) as made:
        yield made
