from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestration.crm import CrmClient
from tests.crm.wire import FakeCrm, serving, settings, write_wsdls


@pytest.fixture(scope="session")
def wsdls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wsdl")
    write_wsdls(directory)
    return directory


@pytest.fixture
def crm() -> Iterator[FakeCrm]:
    with serving() as crm:
        yield crm


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that clients would have slept; no test really sleeps."""
    return []


@pytest.fixture
def connect(crm: FakeCrm, wsdls: Path, pauses: list[float]) -> Iterator[Callable[..., CrmClient]]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(CrmClient(settings(crm, wsdls, **changes), sleep=pauses.append))


@pytest.fixture
def client(connect: Callable[..., CrmClient]) -> CrmClient:
    return connect()
