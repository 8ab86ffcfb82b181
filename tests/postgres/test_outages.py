"""Database crashes and lagging replicas: devices are told to retry, and then continue from their cursors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, WORLDS, publish, service_of
from tests.delta_service.model import IDENTITY
from tests.postgres.cluster import Cluster

pytestmark = pytest.mark.processes


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server that the test may stop."""
    cluster = Cluster()
    yield cluster
    cluster.destroy()


@pytest.fixture
def standby(cluster: Cluster) -> Iterator[Cluster]:
    standby = Cluster(copy_of=cluster)
    yield standby
    standby.destroy()


async def until(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> httpx.Response:
    """The first answer with the status; any other answer must tell the device to retry."""
    async with asyncio.timeout(30):
        while (answer := await ask()).status_code != status:
            if answer.status_code != 200:
                assert_wait(answer)
            await asyncio.sleep(0.05)
    return answer


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def assert_wait(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable"), answer.text
    assert answer.json()["action"] == "retry"
    assert int(answer.headers["retry-after"]) > 0


def published(url: str, seq: int) -> DeltaStoreWriter:
    writer = DeltaStoreWriter(url)
    writer.initialise(IDENTITY)
    publish(writer, WORLDS[: seq + 1])
    writer.set_territories(NAMES)
    return writer


def test_the_service_answers_503_during_a_database_crash_and_recovers(cluster: Cluster, tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = published(cluster.url(), 2)
        async with service_of(tmp_path, writer, store_url=cluster.url()) as running:
            device = running.device("T-NORTH")
            cursor = await device.cursor()
            waiting = asyncio.create_task(device.get("north", since=cursor, wait=30))
            await reached(lambda: running.service.watch.waiting == 1)
            await asyncio.to_thread(cluster.stop)
            # Answers in memory stay valid for a moment; after that, and for all others, the device has to retry.
            await until(lambda: device.get("north", since=1, limit=7), 503)
            # The watch checks the store several times a second.
            await until(lambda: device.get("/readyz"), 503)
            assert_wait(await device.get("/v1/territories"))
            await asyncio.to_thread(cluster.start)
            answer = await until(lambda: device.get("north", since=cursor), 200)
            assert answer.json()["account"] == {"insert": [], "update": [], "deleted": []}
            # The long poll is ended by the next publication, not by the recovery.
            assert not waiting.done()
            writer.close()
            published(cluster.url(), 4).close()
            answer = await waiting
            assert answer.json()["account"]["deleted"] == [{"rowId": "A2"}]

    asyncio.run(scenario())


def test_the_service_starts_without_a_database_and_serves_once_it_is_up(cluster: Cluster, tmp_path: Path) -> None:
    async def scenario() -> None:
        published(cluster.url(), 4).close()
        await asyncio.to_thread(cluster.stop)
        async with service_of(tmp_path, None, store_url=cluster.url()) as running:
            device = running.device("T-NORTH")
            assert_wait(await device.get("north"))
            await asyncio.to_thread(cluster.start)
            assert (await until(lambda: device.get("north"), 200)).headers["sync-complete"] == "true"

    asyncio.run(scenario())


def test_a_lagging_replica_answers_what_it_has_and_503_for_the_rest(
    cluster: Cluster, standby: Cluster, tmp_path: Path
) -> None:
    async def scenario() -> None:
        writer = published(cluster.url(), 2)
        primary, replica = cluster.url(), standby.url()
        async with (
            service_of(tmp_path, writer, store_url=primary) as ahead,
            service_of(tmp_path, None, store_url=replica) as behind,
        ):
            here, there = ahead.device("T-NORTH", "T-SOUTH"), behind.device("T-NORTH", "T-SOUTH")
            old = await here.cursor("/v1/delta")
            await until(lambda: there.get("/v1/delta", since=old), 200)
            standby.sql("SELECT pg_wal_replay_pause()")
            await ahead.publish(WORLDS)
            fresh = await here.cursor("/v1/delta", since=old)
            page = (await here.get("/v1/delta", limit=1)).links["next"]["url"]

            # What it has, it serves correctly.
            answer = await there.get("/v1/delta", since=old)
            assert all(not rows for lists in answer.json().values() for rows in lists.values())
            assert (await there.get("/readyz")).json()["publishedSeq"] == 2
            # Newer cursors and pages are neither reset nor answered from older data.
            assert_wait(await there.get("/v1/delta", since=fresh))
            assert_wait(await there.get("/v1/delta", since=4))
            assert_wait(await there.get(page))
            assert_wait(await there.get("/v1/digest", cursor=fresh))
            buckets = {name: ["0" * 16] * 256 for name in IDENTITY.objects}
            assert_wait(await there.post("/v1/reconcile", {"cursor": fresh, "buckets": buckets}))

            waiting = asyncio.create_task(there.get("/v1/delta", since=old, wait=30))
            await reached(lambda: behind.service.watch.waiting == 1)
            standby.sql("SELECT pg_wal_replay_resume()")
            assert (await waiting).json()["account"]["deleted"] == [{"rowId": "A2"}]
            answer = await until(lambda: there.get("/v1/delta", since=fresh), 200)
            assert (await there.get(page)).status_code == 200
        writer.close()

    asyncio.run(scenario())


def test_devices_continue_after_a_failover_even_with_pages_of_a_lost_publication(
    cluster: Cluster, standby: Cluster, tmp_path: Path
) -> None:
    async def scenario() -> None:
        writer = published(cluster.url(), 1)
        async with (
            service_of(tmp_path, writer, store_url=cluster.url()) as before,
            service_of(tmp_path, None, store_url=standby.url()) as after,
        ):
            here, there = before.device("T-NORTH", "T-SOUTH"), after.device("T-NORTH", "T-SOUTH")
            await until(lambda: there.get("/v1/delta"), 200)
            standby.sql("SELECT pg_wal_replay_pause()")
            await before.publish(WORLDS)
            whole = (await here.get("/v1/delta")).json()
            cursor = await here.cursor("/v1/delta")
            first = await here.get("/v1/delta", limit=1)
            # The primary is lost with three publications that had not been replicated.
            cluster.stop()
            standby.sql("SELECT pg_wal_replay_resume()")
            await asyncio.to_thread(standby.promote)
            # The pipeline publishes to the new primary what the warehouse has.
            writer.close()
            await asyncio.to_thread(lambda: published(standby.url(), 4).close())
            answer = await until(lambda: there.get("/v1/delta", since=cursor), 200)
            assert all(not rows for lists in answer.json().values() for rows in lists.values())
            found = [row for lists in first.json().values() for row in lists["insert"]]
            page = first
            while "next" in page.links:
                page = await there.get(page.links["next"]["url"])
                assert page.status_code == 200, page.text
                found += [row for lists in page.json().values() for row in lists["insert"]]
            assert found == [row for lists in whole.values() for row in lists["insert"]]

    asyncio.run(scenario())
