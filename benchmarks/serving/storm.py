"""P10 ``storm``: 500 devices come back within 10 s of a re-alignment; all end with the exact view."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import cycle, islice

import httpx
import orjson

from benchmarks.results import Measurement
from benchmarks.serving import servers, store
from benchmarks.serving.processes import Server
from benchmarks.serving.store import ServedStore, open_store
from delta_service.store.changes import OPEN_SEQ, VisibilityChange
from delta_service.store.writer import DeltaStoreWriter

DEVICES = 500
WITHIN_SECONDS = 10
# Share of devices that come back with nothing, as after an update of the app: they fetch everything.
EMPTY_SHARE = 0.1
# A tenth of all accounts moves, with what hangs on it in their territory.
MOVED_SHARE = 10
MAX_ATTEMPTS = 50
ROUNDS = 3


@dataclass
class Device:
    """Knows its rows by digest only, which is all it takes to prove that it holds the view."""

    territory: str
    cursor: str | None = None
    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    proven: bool = False

    async def sync(self, client: httpx.AsyncClient) -> None:
        path = f"/v1/territories/{self.territory}/delta"
        parameters: dict[str, str] | None = {"versions": "true"}
        if self.cursor is not None:
            parameters = {**parameters, "since": self.cursor}
        while True:
            answer = await self._ask(client, path, parameters)
            for name, lists in orjson.loads(answer.content).items():
                self._apply(name, lists)
            if "next" not in answer.links:
                break
            path, parameters = answer.links["next"]["url"], None
        self.cursor = answer.headers["sync-cursor"]
        self.proven = self._digests() == answer.headers["sync-digest"]

    async def _ask(self, client: httpx.AsyncClient, path: str, parameters: dict[str, str] | None) -> httpx.Response:
        """Until it is no 429; what that says of the time to wait is heeded."""
        for _ in range(MAX_ATTEMPTS):
            answer = await client.get(path, params=parameters, headers=servers.bearer(self.territory))
            self.statuses[answer.status_code] += 1
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                return answer.raise_for_status()
            await asyncio.sleep(float(answer.headers["retry-after"]))
        raise TimeoutError(f"{MAX_ATTEMPTS} times 429")

    def _apply(self, name: str, lists: dict[str, list[dict[str, str]]]) -> None:
        for row in lists["deleted"]:
            del self.rows[name, row["rowId"]]
        for row in [*lists["insert"], *lists["update"]]:
            row_id = row[f"{name}Id"]
            self.rows[name, row_id] = store.hash64(f"{name}|{row_id}|{row['_v']}")

    def _digests(self) -> str:
        sums: dict[str, int] = defaultdict(int)
        for (name, _), digest in self.rows.items():
            sums[name] += digest
        return ", ".join(f"{name}={sums[name] % 2**64:016x}" for name in OBJECTS)


OBJECTS = ("account", "contact", "opportunity", "activity", "order")


def storm() -> list[Measurement]:
    rounds = []
    for number in range(ROUNDS):
        with store.served_store() as served, servers.delta_service(served) as service:
            rounds.append(asyncio.run(_round(served, service, number)))
    errors, unproven, paced, seconds, slowest, memory = (list(column) for column in zip(*rounds, strict=True))
    return [
        Measurement("errors other than 429", "requests", errors, "target 0", []),
        Measurement("devices not proven equal", "devices", unproven, "target 0", []),
        Measurement("answers 429, paced", "requests", paced, "", []),
        Measurement(
            "from the re-alignment to the last device", "s", seconds, f"they come within {WITHIN_SECONDS} s", []
        ),
        Measurement("a device's sync, 99th percentile", "s", slowest, "", []),
        Measurement("growth of the peak memory", "MiB", memory, "", []),
    ]


async def _round(served: ServedStore, service: Server, number: int) -> tuple[float, ...]:
    chance = random.Random(number)
    devices = [Device(name) for name in islice(cycle(served.territories), DEVICES)]
    limits = httpx.Limits(max_connections=DEVICES)
    async with httpx.AsyncClient(base_url=service.url, timeout=120, limits=limits) as client:
        await _first_syncs(devices, client)
        for device in chance.sample(devices, int(DEVICES * EMPTY_SHARE)):
            device.cursor, device.rows = None, {}
        for device in devices:
            device.statuses.clear()
        service.forget_peak()
        before = service.peak_kib()
        await asyncio.to_thread(_realign, served)
        started = time.perf_counter()
        took = await asyncio.gather(*(_come_back(device, client, chance) for device in devices), return_exceptions=True)
        seconds = time.perf_counter() - started
    durations = sorted(value for value in took if isinstance(value, float))
    statuses: Counter[int] = sum((device.statuses for device in devices), Counter())
    refused = sum(count for status, count in statuses.items() if status not in (200, 429))
    failed = len(took) - len(durations)
    return (
        float(refused + failed),
        float(sum(not device.proven for device in devices)),
        float(statuses[429]),
        seconds,
        statistics.quantiles(durations, n=100)[98],
        (service.peak_kib() - before) / 1024,
    )


async def _first_syncs(devices: list[Device], client: httpx.AsyncClient) -> None:
    turn = asyncio.Semaphore(8)

    async def sync(device: Device) -> None:
        async with turn:
            await device.sync(client)

    await asyncio.gather(*map(sync, devices))
    assert all(device.proven for device in devices)


async def _come_back(device: Device, client: httpx.AsyncClient, chance: random.Random) -> float:
    device.proven = False
    await asyncio.sleep(chance.uniform(0, WITHIN_SECONDS))
    started = time.perf_counter()
    await device.sync(client)
    return time.perf_counter() - started


def _realign(served: ServedStore) -> None:
    """Every tenth account of a territory goes to the next one, with the rows that name it and that it alone brings."""
    connection = open_store(served.home)
    sole = f"""SELECT object.name, row.row_id, min(territory.id), body FROM row JOIN object ON object.key = row.object
        JOIN visibility AS seen ON seen.row_key = row.key AND seen.to_seq = {OPEN_SEQ}
        JOIN territory ON territory.key = seen.territory
        JOIN row_version AS version ON version.row_key = row.key AND version.to_seq = {OPEN_SEQ}
        JOIN row_body USING (body_key)
        WHERE territory.id NOT IN (?, ?) GROUP BY row.key HAVING count(*) = 1 ORDER BY row.key"""
    target = dict(zip(served.territories, [*served.territories[1:], served.territories[0]], strict=True))
    moved: set[str] = set()
    changes = []
    accounts = 0
    for name, row_id, territory, body in connection.execute(sole, (store.SNAPSHOT_TERRITORY, store.LARGE_TERRITORY)):
        row = orjson.loads(body)
        if name == "account":
            accounts += 1
            if accounts % MOVED_SHARE:
                continue
            moved.add(row_id)
        elif row.get("accountId") not in moved:
            continue
        changes += [
            VisibilityChange(territory, name, row_id, entered=False),
            VisibilityChange(target[territory], name, row_id, entered=True),
        ]
    with DeltaStoreWriter(served.home / "delta.sqlite") as writer:
        store.publish(writer, connection, visibility=changes)
    connection.close()
