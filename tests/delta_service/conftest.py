"""A store with a small history, and the service in front of it, in process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from delta_service.app import DeltaService
from delta_service.settings import ServiceSettings
from delta_service.store.engine import StoreLocation
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.contract import assert_described
from tests.delta_service.model import IDENTITY, Row, World, body_of, change_set
from tests.postgres.cluster import new_location

SECRET = b"a secret of more than thirty-two bytes, for tests"
TERRITORIES = ("T-NORTH", "T-SOUTH", "T-EAST")
NAMES = [("T-NORTH", "North"), ("T-SOUTH", "South"), ("T-EAST", "Twin"), ("T-WEST", "Twin")]

A1, A2, A3 = ("account", "A1"), ("account", "A2"), ("account", "A3")
C1, O1 = ("contact", "C1"), ("order", "O1")


def world(contents: Mapping[Row, object], seen: Mapping[str, list[Row]]) -> World:
    """From what each row's name says, and the rows that each territory sees."""
    return World(
        {row: body_of(row, content) for row, content in contents.items()},
        frozenset((territory, row) for territory, rows in seen.items() for row in rows),
    )


# Publication 1: three accounts. 2: A2 changes, A3 moves to the south, a contact is created. 3: A2 is merged into A1.
# 4: A3 changes, which only the south sees.
WORLDS = [
    World(),
    world({A1: 1, A2: 1, A3: 1}, {"T-NORTH": [A1, A2, A3], "T-SOUTH": []}),
    world({A1: 1, A2: 2, A3: 1, C1: 1}, {"T-NORTH": [A1, A2, C1], "T-SOUTH": [A3, C1]}),
    world({A1: 1, A3: 1, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]}),
    world({A1: 1, A3: 2, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]}),
]
MERGED = {A2: "A1"}


def publish(writer: DeltaStoreWriter, worlds: list[World]) -> None:
    for seq in range(writer.published_seq + 1, len(worlds)):
        writer.apply(change_set(seq, worlds[seq - 1], worlds[seq], TERRITORIES, MERGED))


def token(territories: list[str], *, secret: bytes = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    now = int(time.time())
    content = {"aud": "territory-delta", "exp": now + 600, "territories": territories} | claims
    return jwt.encode({key: value for key, value in content.items() if value is not None}, secret, algorithm=algorithm)


VALID_CLAIMS = {"aud": "territory-delta", "exp": int(time.time()) + 3600, "territories": ["T-NORTH"]}


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The logged lines; a record may have several."""
    return [line for record in caplog.records for line in record.getMessage().splitlines()]


class Device:
    """A client with a token, which checks each answer against the OpenAPI document and keeps nothing."""

    def __init__(self, client: httpx.AsyncClient, bearer: str | None) -> None:
        self._client = client
        self.headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}

    async def get(self, path: str, headers: dict[str, str] | None = None, /, **parameters: object) -> httpx.Response:
        """The paths ``north`` and ``south`` stand for the deltas of these territories."""
        path = {"north": "/v1/territories/T-NORTH/delta", "south": "/v1/territories/T-SOUTH/delta"}.get(path, path)
        query = {key: str(value) for key, value in parameters.items()}
        answer = await self._client.get(path, params=query or None, headers=self.headers | (headers or {}))
        assert_described(answer)
        return answer

    async def post(self, path: str, body: object) -> httpx.Response:
        answer = await self._client.post(path, json=body, headers=self.headers)
        assert_described(answer)
        return answer

    async def cursor(self, path: str = "north", **parameters: object) -> str:
        return (await self.get(path, **parameters)).headers["sync-cursor"]


class Running:
    """The service, its store's writer, and devices."""

    def __init__(self, service: DeltaService, writer: DeltaStoreWriter | None, client: httpx.AsyncClient) -> None:
        self.service, self._writer, self.client = service, writer, client

    @property
    def writer(self) -> DeltaStoreWriter:
        assert self._writer is not None
        return self._writer

    def device(self, *territories: str, **claims: Any) -> Device:
        return Device(self.client, token(list(territories), **claims))

    @property
    def stranger(self) -> Device:
        return Device(self.client, None)

    async def publish(self, worlds: list[World]) -> None:
        """Publish, and let the service notice."""
        await asyncio.to_thread(publish, self.writer, worlds)
        await self.service.watch.look()


@asynccontextmanager
async def service_of(home: Path, writer: DeltaStoreWriter | None, **settings: Any) -> AsyncIterator[Running]:
    service = DeltaService(ServiceSettings(home, **({"jwt_secret": SECRET} | settings)))
    transport = httpx.ASGITransport(service)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield Running(service, writer, client)


Scenario = Callable[[Running], Awaitable[None]]
RunScenario = Callable[..., None]


ENGINES = ["sqlite", pytest.param("postgres", marks=pytest.mark.processes)]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Tests that use a store run on both."""
    return str(request.param)


@pytest.fixture
def location(engine: str, tmp_path: Path) -> StoreLocation:
    """Where a new store can be created."""
    return new_location(engine, tmp_path)


@pytest.fixture
def run(location: StoreLocation, tmp_path: Path) -> RunScenario:
    """Run an async scenario against the service with publications 1 to ``published``."""

    def run(scenario: Scenario, *, published: int = 4, worlds: list[World] = WORLDS, **settings: Any) -> None:
        if isinstance(location, str):
            settings["store_url"] = location

        async def whole() -> None:
            with DeltaStoreWriter(location) as writer:
                writer.initialise(IDENTITY)
                publish(writer, worlds[: published + 1])
                writer.set_territories(NAMES)
                async with service_of(tmp_path, writer, **settings) as running:
                    await scenario(running)

        asyncio.run(whole())

    return run
