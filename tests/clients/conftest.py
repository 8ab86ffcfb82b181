"""The real service as a process, over a store that is filled by random publications."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.clients.publications import Publications
from tests.delta_service.conftest import token
from tests.delta_service.processes import serving


@dataclass
class Served:
    """A running service and what it serves."""

    http: httpx.Client
    publications: Publications

    @property
    def url(self) -> str:
        return str(self.http.base_url)

    def step(self, count: int = 1) -> None:
        """Publish, and wait until the service serves it."""
        for _ in range(count):
            self.publications.step()
        self.publications.await_served(self.http)


def bearer(*territories: str) -> str:
    return token(list(territories))


@contextmanager
def served(home: Path, seed: int, accounts: int) -> Iterator[Served]:
    with Publications(home, seed, accounts) as publications, serving(home) as http:
        publications.await_served(http)
        yield Served(http, publications)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with some 300 rows in three territories, shared by the tests of a module."""
    with served(tmp_path_factory.mktemp("home"), seed=7, accounts=100) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The device's database."""
    return tmp_path / "device.sqlite"
