"""``since`` with a time instead of a cursor: it may repeat, it never loses; the service's own stamps are exact."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta

import httpx
import pytest

from tests.delta_service.conftest import A1, A2, A3, C1, TERRITORIES, WORLDS, Running, RunScenario, world
from tests.delta_service.model import START, World, change_set, full_copy, published_at

Rows = dict[tuple[str, str], dict[str, object]]

# Since 4: A2 comes, A1 changes, C1 leaves; then all of that is undone.
UNDONE = [
    *WORLDS,
    world({A1: 9, A2: 1, A3: 2, C1: 1}, {"T-NORTH": [A1, A2], "T-SOUTH": [A3, C1]}),
    WORLDS[4],
]


def applied(view: Rows, answer: httpx.Response) -> Rows:
    """As a device applies it: insert or replace, and delete what is there."""
    view = dict(view)
    if answer.headers["content-type"].startswith("application/x-ndjson"):
        for line in answer.text.splitlines()[:-1]:
            entry = json.loads(line)
            if entry["op"] == "deleted":
                view.pop((entry["object"], entry["rowId"]), None)
            else:
                view[entry["object"], entry["row"][f"{entry['object']}Id"]] = entry["row"]
        return view
    for name, lists in answer.json().items():
        for entry in lists["deleted"]:
            view.pop((name, entry["rowId"]), None)
        for row in lists["insert"] + lists["update"]:
            view[name, row[f"{name}Id"]] = row
    return view


def view_at(worlds: list[World], seq: int, territory: str = "T-NORTH") -> Rows:
    return {row: json.loads(body) for row, body in worlds[seq].view([territory]).items()}


def text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_what_came_and_went_since_a_time_is_deleted_and_what_was_reverted_is_told(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.device("T-NORTH").get("north", since=text(published_at(4)))
        assert answer.headers["sync-exact"] == "false"
        assert "sync-mode" not in answer.headers
        assert answer.json()["account"]["deleted"] == [{"rowId": "A2"}]
        assert [row["name"] for row in answer.json()["account"]["update"]] == ["content 1"]
        assert [row["contactId"] for row in answer.json()["contact"]["update"]] == ["C1"]
        exact = await running.device("T-NORTH").get("north", since=4)
        assert not any(exact.json()[name][kind] for name in exact.json() for kind in exact.json()[name])

    run(scenario, published=6, worlds=UNDONE)


def test_from_every_view_since_any_time_the_answer_leads_to_the_newest(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", "T-SOUTH")
        newest = len(UNDONE) - 1
        for territory, path in (("T-NORTH", "north"), ("T-SOUTH", "south")):
            for seq in range(1, newest + 1):
                for after in (timedelta(0), timedelta(seconds=7, milliseconds=1)):
                    since = text(published_at(seq) + after)
                    answers = [
                        await device.get(path, since=since),
                        await device.get(path, {"Accept": "application/x-ndjson"}, since=since),
                    ]
                    for held_seq in range(seq, newest + 1):
                        for answer in answers:
                            found = applied(view_at(UNDONE, held_seq, territory), answer)
                            assert found == view_at(UNDONE, newest, territory), (territory, since, held_seq)
                        paged = view_at(UNDONE, held_seq, territory)
                        pages = await device.get(path, since=since, limit=1)
                        while True:
                            assert pages.headers["sync-exact"] == "false"
                            paged = applied(paged, pages)
                            if pages.headers["sync-complete"] == "true":
                                break
                            pages = await device.get(pages.links["next"]["url"])
                        assert paged == view_at(UNDONE, newest, territory)

    run(scenario, published=6, worlds=UNDONE, caller_requests_per_second=10_000)


def test_a_time_before_the_first_publication_is_a_first_sync(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        first = await device.get("north")
        for since in ("2020-01-01T00:00:00Z", text(published_at(1) - timedelta(microseconds=1))):
            answer = await device.get("north", since=since)
            assert answer.headers["sync-mode"] == "replace"
            assert answer.json() == first.json()

    run(scenario)


def test_a_time_older_than_the_history_is_refused_and_not_taken_for_one_before_it(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        running.writer.prune(3, 3)
        await running.service.watch.look()
        answer = await device.get("north", since=text(published_at(2)))
        assert (answer.status_code, answer.json()["code"]) == (410, "cursor-expired")
        kept = await device.get("north", since=text(published_at(3)))
        assert applied(view_at(WORLDS, 3), kept) == view_at(WORLDS, 4)

    run(scenario)


@pytest.mark.parametrize("header", ["sync-published", "sync-as-of"])
def test_a_stamp_names_its_own_publication_also_where_several_share_a_second(run: RunScenario, header: str) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        stamps = {4: (await device.get("north", since=4)).headers[header]}
        for seq in (5, 6):
            changes = change_set(seq, UNDONE[seq - 1], UNDONE[seq], ["T-NORTH", "T-SOUTH"])
            # One of them in the same second, and what is known of the CRM has not moved on.
            publication = replace(changes.publication, published_at=published_at(4), as_of=published_at(3))
            running.writer.apply(replace(changes, publication=publication))
            await running.service.watch.look()
            stamps[seq] = (await device.get("north", since=seq)).headers[header]
        assert len(set(stamps.values())) == 3
        for seq, stamp in stamps.items():
            exact, answer = await device.get("north", since=seq), await device.get("north", since=stamp)
            assert answer.headers["sync-exact"] == "true"
            assert (answer.json(), answer.headers["etag"]) == (exact.json(), exact.headers["etag"]), seq
            assert datetime.fromisoformat(stamp).year == START.year

    run(scenario)


def test_a_stamp_of_what_was_confirmed_later_still_names_its_publication(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        running.writer.confirm_as_of(published_at(4) + timedelta(seconds=3))
        await running.service.watch.look()
        stamp = (await device.get("north")).headers["sync-as-of"]
        await running.publish(UNDONE)
        answer = await device.get("north", since=stamp)
        assert answer.headers["sync-exact"] == "true"
        assert applied(view_at(UNDONE, 4), answer) == view_at(UNDONE, 6)
        assert not answer.json()["account"]["deleted"]

    run(scenario)


def test_a_stamp_that_was_shortened_is_a_time(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        stamp = (await device.get("north", since=4)).headers["sync-published"]
        await running.publish(UNDONE)
        for since in (stamp[:19] + "Z", stamp[:23] + "Z", stamp[:23] + "000000Z", stamp[:-4] + "Z"):
            answer = await device.get("north", since=since)
            assert answer.headers["sync-exact"] == "false"
            assert answer.json()["account"]["deleted"] == [{"rowId": "A2"}]

    run(scenario)


def test_a_stamp_from_after_the_backup_that_was_restored_is_ahead_like_a_cursor(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        await running.publish(UNDONE[:6])
        stamp = (await device.get("north", since=5)).headers["sync-published"]
        running.writer.replace(full_copy(WORLDS, TERRITORIES))
        await running.service.watch.look()
        answer = await device.get("north", since=stamp)
        assert (answer.status_code, answer.json()["code"]) == (409, "cursor-ahead")

    run(scenario)


def test_a_known_answer_since_a_time_becomes_304_until_something_changes(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device, since = running.device("T-NORTH"), text(published_at(3))
        answer = await device.get("north", since=since)
        known = {"If-None-Match": answer.headers["etag"]}
        assert (await device.get("north", known, since=since)).status_code == 304
        assert (await device.get("north", since=3)).headers["etag"] != answer.headers["etag"]
        await running.publish(UNDONE)
        assert (await device.get("north", known, since=since)).status_code == 200

    run(scenario)


def test_a_long_poll_with_a_time_to_come_tells_what_is_published_meanwhile(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        # The device's clock is ahead.
        waiting = running.device("T-NORTH").get("north", since=text(published_at(100)), wait=30)
        poll = asyncio.create_task(waiting)
        while not running.service.watch.waiting:
            await asyncio.sleep(0.01)
        await running.publish(UNDONE[:6])
        assert applied(view_at(UNDONE, 4), await poll) == view_at(UNDONE, 5)

    run(scenario)


def test_only_the_callers_territories_count_since_a_time(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.device("T-SOUTH").get("/v1/delta", since=text(published_at(1)))
        assert {entry["rowId"] for entry in answer.json()["account"]["deleted"]} == set()
        assert applied({}, answer) == view_at(WORLDS, 4, "T-SOUTH")
        both = await running.device("T-NORTH", "T-SOUTH").get("/v1/delta", since=text(published_at(1)))
        assert [entry["rowId"] for entry in both.json()["account"]["deleted"]] == ["A2"]

    run(scenario)
