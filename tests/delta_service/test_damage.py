"""What the service says of a store that it cannot use, and that it goes on when the store is good again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from delta_service.store.writer import DeltaStoreWriter
from tests.damage import DAMAGES
from tests.delta_service.conftest import TERRITORIES, WORLDS, Running, service_of
from tests.delta_service.model import IDENTITY, full_copy


def damaged_while_served(home: Path, damage: str) -> None:
    store = home / "delta.sqlite"

    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        cursor = await device.cursor()
        DAMAGES[damage](store)
        await running.service.watch.look()
        answer = await device.get("north")
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
            assert "damaged" in answer.json()["detail"]
        running.writer.replace(full_copy(WORLDS, TERRITORIES))
        await running.service.watch.look()
        answer = await device.get("north", since=cursor)
        assert answer.status_code == 200
        assert (await device.get("north")).status_code == 200

    async def whole() -> None:
        with DeltaStoreWriter(store) as writer:
            writer.replace(full_copy(WORLDS, TERRITORIES))
            async with service_of(home, writer) as running:
                await scenario(running)

    asyncio.run(whole())


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_service_goes_on_once_the_damaged_store_was_replaced(tmp_path: Path, damage: str) -> None:
    damaged_while_served(tmp_path, damage)


@pytest.mark.parametrize("damage", ["emptied", "cut_inside_the_header", "header_zeroed", "table_lost"])
def test_a_service_that_starts_with_a_damaged_store_says_so(tmp_path: Path, damage: str) -> None:
    async def whole() -> None:
        with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
            writer.replace(full_copy(WORLDS, TERRITORIES))
        DAMAGES[damage](tmp_path / "delta.sqlite")
        async with service_of(tmp_path, None) as running:
            for path in ("north", "/v1/territories", "/readyz"):
                answer = await running.device("T-NORTH").get(path)
                assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable"), path
                assert "damaged" in answer.json()["detail"]
                assert str(tmp_path) not in answer.text

    asyncio.run(whole())


def test_without_a_store_nothing_has_been_published_yet(tmp_path: Path) -> None:
    async def whole() -> None:
        async with service_of(tmp_path, None) as running:
            assert (await running.device("T-NORTH").get("north")).json()["code"] == "starting"
            with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
                await running.service.watch.look()
                assert (await running.device("T-NORTH").get("north")).json()["code"] == "starting"
                writer.initialise(IDENTITY)
            await running.service.watch.look()
            assert (await running.device("T-NORTH").get("north")).json()["code"] == "starting"

    asyncio.run(whole())
