"""What devices are told of rows that the guard holds: by each way an answer may take, after each publication."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from delta_service.buckets import BUCKET_COUNT
from delta_service.cursor import Anchor, Cursor
from delta_service.store.changes import TerritoryHeld
from delta_service.store.engine import StoreLocation, engine_at
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import TERRITORIES, WORLDS, Running, RunScenario, publish, token
from tests.delta_service.connections import Connection, Server, first_sync, header, poll
from tests.delta_service.model import IDENTITY, World, change_set, full_copy

SINCE = datetime(2026, 11, 24, 6, 2, tzinfo=UTC)
SINCE_TEXT = "2026-11-24T06:02:00Z"
NORTH, BOTH = ("T-NORTH",), ("T-NORTH", "T-SOUTH")
PATH = "/v1/territories/T-NORTH"


def held(rows: int, name: str = "account", territory: str = "T-NORTH", since: datetime = SINCE) -> TerritoryHeld:
    return TerritoryHeld(territory, name, rows, since)


def cursor(seq: int, *scope: str) -> str:
    return Cursor(IDENTITY.epoch, (Anchor(scope or NORTH, seq, None),)).encode(IDENTITY.cursor_key)


async def publish_held(running: Running, *changes: TerritoryHeld, world: World = WORLDS[-1]) -> None:
    """A publication that changes what is held, and nothing else unless ``world`` is given."""
    seq = running.writer.published_seq + 1
    changed = replace(change_set(seq, WORLDS[-1], world, TERRITORIES), held=changes)
    await asyncio.to_thread(running.writer.apply, changed)
    await running.service.watch.look()


def told(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("sync-held"), answer.headers.get("sync-held-since")


def test_answers_say_how_many_rows_are_held_and_since_when_only_while_there_are_any(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device(*NORTH)
        for parameters in ({}, {"since": 4}, {"since": 2}):
            assert told(await device.get("north", **parameters)) == (None, None)
        later = SINCE + timedelta(hours=1)
        await publish_held(running, held(12, since=later), held(3, "contact"), held(5, territory="T-SOUTH"))
        for parameters in ({}, {"since": 5}, {"since": 4}, {"since": 2}, {"limit": 1}, {"since": 2, "limit": 1}):
            assert told(await device.get("north", **parameters)) == ("account=12, contact=3", SINCE_TEXT)
        assert told(await device.get("north", since=5, objects="account")) == ("account=12", "2026-11-24T07:02:00Z")
        assert told(await device.get("north", since=5, objects="order")) == (None, None)
        await publish_held(running, held(0), held(0, "contact"))
        for parameters in ({}, {"since": 6}, {"since": 5}, {"since": 2}):
            assert told(await device.get("north", **parameters)) == (None, None)
        assert told(await running.device("T-SOUTH").get("south")) == ("account=5", SINCE_TEXT)

    run(scenario)


def test_what_is_held_in_several_territories_adds_up(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        south = held(5, territory="T-SOUTH", since=SINCE + timedelta(hours=1))
        await publish_held(running, held(12), south, held(1, "order", "T-SOUTH"))
        for device in (running.device(*BOTH), running.device("T-NORTH", "T-SOUTH", "T-EAST")):
            assert told(await device.get("/v1/delta")) == ("account=17, order=1", SINCE_TEXT)

    run(scenario)


def test_pages_streams_envelopes_digests_and_repairs_say_it_too(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        await publish_held(running, held(12))
        device, expected = running.device(*NORTH), ("account=12", SINCE_TEXT)
        page = await device.get("north", limit=1)
        following = await device.get(page.links["next"]["url"])
        assert told(page) == told(following) == expected
        members = [(await device.get("north", envelope="true", **more)).json()["_sync"] for more in ({}, {"since": 5})]
        lines = await device.get("north", {"accept": "application/x-ndjson"}, since=2)
        quiet = await device.get("north", {"accept": "application/x-ndjson"}, since=5)
        assert told(lines) == told(quiet) == expected
        members += [json.loads(one.text.splitlines()[-1])["trailer"] for one in (lines, quiet)]
        digest = await device.get(f"{PATH}/digest")
        assert told(digest) == told(await device.get(f"{PATH}/digest", cursor=cursor(2))) == expected
        members.append(digest.json())
        buckets = {"account": ["0" * 16] * BUCKET_COUNT}
        first = (await device.post(f"{PATH}/reconcile", {"buckets": buckets})).json()
        second = await device.post(f"{PATH}/reconcile?envelope=true", {**first, "versions": {"account": {}}})
        assert told(second) == expected
        members.append(second.json()["_sync"])
        for each in members:
            assert (each["held"], each["heldSince"]) == ({"account": 12}, SINCE_TEXT)
        await publish_held(running, held(0))
        for answer in (await device.get("north", envelope="true"), await device.get(f"{PATH}/digest")):
            assert "held" not in answer.text
            assert told(answer) == (None, None)

    run(scenario)


def test_the_list_of_territories_says_it_for_each(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        await publish_held(running, held(12), held(3, "contact", since=SINCE + timedelta(hours=1)))
        listed = (await running.device(*BOTH).get("/v1/territories")).json()["territories"]
        north, south = listed
        assert (north["held"], north["heldSince"]) == ({"account": 12, "contact": 3}, SINCE_TEXT)
        assert not {"held", "heldSince"} & south.keys()

    run(scenario)


@pytest.mark.parametrize("since", [2, 4])
def test_an_etag_from_before_is_no_proof_that_nothing_is_held(run: RunScenario, since: int) -> None:
    """A cache that is told 304 keeps the headers it has: one that is gone would stay for ever."""

    async def scenario(running: Running) -> None:
        device = running.device(*NORTH)
        etag = (await device.get("north", since=since)).headers["etag"]
        for rows, expected in ((12, "account=12"), (7, "account=7"), (0, None)):
            await publish_held(running, held(rows))
            answer = await device.get("north", {"if-none-match": etag}, since=since)
            assert (answer.status_code, answer.headers.get("sync-held")) == (200, expected)
            etag = answer.headers["etag"]
            again = await device.get("north", {"if-none-match": etag}, since=since)
            assert again.status_code == 304
            if since == 4:
                assert again.headers.get("sync-held") == expected, "with nothing new, 304 says all that 200 says"

    run(scenario)


def in_time(begun: float) -> bool:
    return time.monotonic() - begun < 5


def test_who_waits_is_told_when_what_is_held_changes(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        north, south = running.device(*NORTH), running.device("T-SOUTH")
        for rows, expected in ((12, "account=12"), (0, None)):
            seq, begun = running.writer.published_seq, time.monotonic()
            waiting = asyncio.create_task(north.get("north", since=cursor(seq), wait=20))
            other = asyncio.create_task(south.get("south", since=cursor(seq, "T-SOUTH"), wait=20))
            while running.service.watch.waiting < 2:
                await asyncio.sleep(0.01)
            await publish_held(running, held(rows))
            answer = await waiting
            assert in_time(begun)
            assert answer.headers.get("sync-held") == expected
            assert answer.headers["sync-cursor"] == cursor(seq + 1)
            assert not other.done(), "the other territory's held rows are none of its business"
            other.cancel()

    run(scenario)


def test_who_does_not_know_yet_what_is_held_does_not_wait_and_who_knows_does(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device(*NORTH)
        await publish_held(running, held(12))
        begun = time.monotonic()
        answer = await device.get("north", since=cursor(4), wait=20)
        assert in_time(begun)
        assert answer.headers["sync-held"] == "account=12"
        for knows in (
            device.get("north", since=answer.headers["sync-cursor"], wait=1),
            # Who keeps the cursor with a 304 would else ask without a pause.
            device.get("north", {"if-none-match": answer.headers["etag"]}, since=cursor(4), wait=1),
        ):
            begun = time.monotonic()
            await knows
            assert time.monotonic() - begun > 0.9

    run(scenario)


def test_who_listens_is_told_when_what_is_held_changes(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        pieces: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        gone = asyncio.Event()

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def event() -> dict[str, Any]:
            while True:
                message = await asyncio.wait_for(pieces.get(), timeout=5)
                _, found, data = message.get("body", b"").partition(b"\ndata: ")
                if found:
                    document: dict[str, Any] = json.loads(data)
                    return document

        headers = [(b"authorization", f"Bearer {token(list(NORTH))}".encode())]
        where = {"method": "GET", "path": "/v1/events", "raw_path": b"/v1/events", "query_string": b""}
        listening = {"type": "http", "headers": headers, "client": ("127.0.0.1", 5), **where}
        task = asyncio.create_task(running.service(listening, receive, pieces.put))
        assert "held" not in await event()
        for rows, expected in ((12, {"account": 12}), (7, {"account": 7}), (0, None)):
            await publish_held(running, held(rows), held(9, "contact", "T-SOUTH"))
            told_now = await event()
            assert told_now.get("held") == expected
            assert told_now.get("heldSince") == (SINCE_TEXT if expected else None)
            assert told_now["cursor"] == cursor(running.writer.published_seq)
        await publish_held(running, held(1, "contact", "T-SOUTH"))
        assert pieces.empty(), "the other territory's held rows are none of its business"
        gone.set()
        await task

    run(scenario)


@pytest.fixture
def store(location: StoreLocation) -> StoreLocation:
    """With the history of conftest's worlds."""
    with DeltaStoreWriter(location) as writer:
        writer.initialise(IDENTITY)
        publish(writer, WORLDS)
        writer.apply(replace(change_set(5, WORLDS[-1], WORLDS[-1], TERRITORIES), held=[held(12)]))
    return location


def test_a_reader_that_begins_later_knows_what_is_held(store: StoreLocation) -> None:
    reader = DeltaStoreReader(store)
    state = reader.state(None)
    north, south = state.territories["T-NORTH"], state.territories["T-SOUTH"]
    assert [(one.object, one.rows, one.since) for one in north.held] == [(0, 12, SINCE)]
    assert (north.held_seq, south.held, south.held_seq) == (5, (), 0)
    assert reader.state(state).territories["T-NORTH"] == north
    reader.close()


def test_a_full_copy_brings_what_is_held(store: StoreLocation) -> None:
    with DeltaStoreWriter(store) as writer:
        writer.replace(replace(full_copy(WORLDS, TERRITORIES), held=[held(3, "contact", "T-SOUTH")]))
    reader = DeltaStoreReader(store)
    state = reader.state(None)
    assert {id_: [one.rows for one in each.held] for id_, each in state.territories.items() if each.held} == {
        "T-SOUTH": [3]
    }
    reader.close()


def test_a_store_from_before_that_lacks_the_table_is_served(store: StoreLocation) -> None:
    connection = engine_at(store).open_writer()
    connection.execute("DROP TABLE held")
    connection.close()
    reader = DeltaStoreReader(store)
    assert not any(one.held for one in reader.state(None).territories.values())
    reader.close()


Told = Mapping[str, bytes]


async def asked_in_all_ways(connection: Connection, bearer: str, seq: int, etags: dict[str, bytes]) -> Told:
    """``Sync-Held`` by way: each asked twice, so that the second is answered by what the first left behind."""
    found: dict[str, bytes] = {}
    # The newest cursors first: what was kept for them before the publication is there until anything else is kept.
    ways = {
        **{f"since {old}": poll(bearer, since=cursor(old)) for old in range(seq - 1, 0, -1)},
        "first sync": first_sync(bearer),
        "first sync, packed": first_sync(bearer, "T-NORTH", "Accept-Encoding: gzip"),
        "first page": first_sync(bearer, parameters="?limit=1"),
        "all territories": poll(bearer, since=cursor(1, *BOTH)).replace(b"/v1/territories/T-NORTH", b"/v1"),
        "newest": poll(bearer, since=cursor(seq)),
        "newest by number": poll(bearer, since=seq),
        "from the beginning of time": poll(bearer, since="2026-01-01T00:00:00Z"),
    }
    for way, request in ways.items():
        for turn in ("first", "again"):
            head, _ = await connection.ask(request)
            assert head.split()[1] == b"200", head
            found[f"{way}, {turn}"] = header(head, b"sync-held") or b""
        known = etags.get(way, b'"none"')
        head, _ = await connection.ask(request[:-2] + b"If-None-Match: %s\r\n\r\n" % known)
        if head.split()[1] == b"200":
            found[f"{way}, with an ETag"] = header(head, b"sync-held") or b""
        etags[way] = header(head, b"etag") or b""
    return found


@pytest.mark.parametrize("seed", range(3))
def test_after_each_publication_each_way_tells_what_is_held_now(run: RunScenario, seed: int) -> None:
    rng = random.Random(seed)
    worlds = [WORLDS[4], WORLDS[2]]

    async def scenario(running: Running) -> None:
        server, bearer = Server(running), token(list(BOTH))
        now: dict[tuple[str, str], int] = {}
        etags: dict[str, bytes] = {}
        before = WORLDS[4]
        async with server.listening() as connect:
            connection = await connect()
            for _ in range(8):
                changes = [
                    held(rng.choice([0, 0, rng.randint(1, 9)]), name, territory)
                    for name, territory in rng.sample(
                        [(name, each) for name in IDENTITY.objects for each in BOTH], rng.choice([0, 1, 2, 6])
                    )
                ]
                after = rng.choice([before, before, *worlds])
                seq = running.writer.published_seq + 1
                change = replace(change_set(seq, before, after, TERRITORIES), held=changes)
                await asyncio.to_thread(running.writer.apply, change)
                await running.service.watch.look()
                before = after
                now |= {(one.territory, one.object): one.rows for one in changes}
                answers = await asked_in_all_ways(connection, bearer, seq, etags)
                for way, header_value in answers.items():
                    scope = BOTH if way.startswith("all") else NORTH
                    rows = {name: sum(now.get((each, name), 0) for each in scope) for name in IDENTITY.objects}
                    expected = ", ".join(f"{name}={count}" for name, count in rows.items() if count)
                    assert header_value.decode() == expected, (way, seq)

    run(scenario)


def test_the_metrics_sum_up_what_is_held_and_how_long(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        async def shown() -> dict[str, float]:
            lines = (await running.stranger.get("/metrics")).text.splitlines()
            samples = (line.split() for line in lines if line.startswith("delta_held_"))
            return {name: float(value) for name, value in samples}

        since = datetime.now(UTC) - timedelta(hours=2)
        await publish_held(running, held(12, since=since), held(5, "contact", "T-SOUTH", since + timedelta(hours=1)))
        metrics = await shown()
        assert metrics["delta_held_rows"] == 17
        assert metrics["delta_held_age_seconds"] == pytest.approx(7200, abs=60)
        await publish_held(running, held(0), held(0, "contact", "T-SOUTH"))
        assert (await shown())["delta_held_rows"] == (await shown())["delta_held_age_seconds"] == 0

    run(scenario)
