"""The small system that most end-to-end tests use, loaded and published, without a guard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.steps import NO_GUARD, loaded_system
from tests.e2e.system import System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One for all tests of a file, which change it in turn."""
    with loaded_system(tmp_path_factory.mktemp("home"), accounts=60, territories=3, seed=5, **NO_GUARD) as made:
        yield made


@pytest.fixture
def fresh_system(tmp_path: Path) -> Iterator[System]:
    """One for a single test."""
    with loaded_system(tmp_path, accounts=60, territories=3, seed=5, **NO_GUARD) as made:
        yield made
