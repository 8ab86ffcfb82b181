"""Sections 1 to 5 of the contract over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from backports import zstd

from delta_service import source
from delta_service.audit import write_records
from delta_service.cursor import Anchor, Cursor, decode_cursor
from delta_service.store.reader import FEW_ROWS
from tests.delta_service.conftest import A1, A2, A3, C1, WORLDS, Running, RunScenario, world
from tests.delta_service.model import IDENTITY, OBJECTS, World, body_of, digest_of, full_copy, published_at, version_of
from tests.waiting import until

ROWS_TO_COMPRESS = [("account", f"B{number}") for number in range(50)]


def _ids(deleted: list[dict[str, str]]) -> list[str]:
    return sorted(entry["rowId"] for entry in deleted)


EMPTY: dict[str, dict[str, list[Any]]] = {name: {"insert": [], "update": [], "deleted": []} for name in OBJECTS}


def test_a_first_sync_lists_every_row_as_an_insert(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.device("T-NORTH").get("north")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["sync-mode"] == "replace"
        assert answer.headers["sync-complete"] == "true"
        assert list(answer.json()) == list(OBJECTS)
        assert answer.json() == EMPTY | {
            "account": {"insert": [json.loads(body_of(A1, 1))], "update": [], "deleted": []},
            "contact": {"insert": [json.loads(body_of(C1, 1))], "update": [], "deleted": []},
        }

    run(scenario)


def test_a_delta_has_each_change_once_and_gives_the_reason_of_each_delete(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.device("T-NORTH").get("north", since=1, reasons="true")
        assert "sync-mode" not in answer.headers
        assert answer.json()["account"] == {
            "insert": [],
            "update": [],
            "deleted": [
                {"rowId": "A2", "reason": "merged", "into": "A1"},
                {"rowId": "A3", "reason": "moved"},
            ],
        }
        answer = await running.device("T-NORTH").get("north", since=1)
        assert answer.json()["account"]["deleted"] == [{"rowId": "A2"}, {"rowId": "A3"}]

    run(scenario)


def test_a_delta_contains_only_the_net_change(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        cursor = await device.cursor()
        elsewhere = world({A1: 1, A3: 2, C1: 2}, {"T-NORTH": [C1], "T-SOUTH": [A1, A3, C1]})
        fleeting = world({A1: 1, A2: 7, A3: 2, C1: 3}, {"T-NORTH": [A1, A2, C1], "T-SOUTH": [A3, C1]})
        updates = [world({A1: 1, A3: 2, C1: n}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3]}) for n in range(3, 20)]
        await running.publish([*WORLDS, elsewhere, fleeting, *updates])
        changes = (await device.get("north", since=cursor)).json()
        assert changes["account"] == EMPTY["account"], "A1 left and came back, A2 came and left"
        assert [row["name"] for row in changes["contact"]["update"]] == ["content 19"]
        await running.publish([*WORLDS, elsewhere, fleeting, *updates, WORLDS[4]])
        assert (await device.get("north", since=cursor)).json() == EMPTY, "the view is the same as at the cursor"

    run(scenario)


def test_headers_give_freshness_counts_and_digests_of_the_whole_view(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.device("T-NORTH").get("north", limit=1)
        digest = digest_of(A1, body_of(A1, 1))
        contact = digest_of(C1, body_of(C1, 1))
        assert answer.headers["sync-complete"] == "false"
        assert answer.headers["sync-counts"] == "account=1, contact=1, order=0"
        assert answer.headers["sync-digest"] == f"account={digest:016x}, contact={contact:016x}, order={0:016x}"
        assert datetime.fromisoformat(answer.headers["sync-published"][:23] + "Z") == published_at(4)
        assert answer.headers["sync-next-expected"] == "30"
        assert answer.headers["cache-control"].startswith("private")

    run(scenario)


def test_a_version_is_the_hash_of_the_row_as_served(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.device("T-NORTH").get("north", versions="true")
        (row,) = answer.json()["account"]["insert"]
        assert row.pop("_v") == f"{version_of(body_of(A1, 1)):016x}"
        assert row == json.loads(body_of(A1, 1))

    run(scenario)


def test_the_envelope_repeats_the_headers(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        for since in ({}, {"since": 4}):
            answer = await running.device("T-NORTH").get("north", envelope="true", **since)
            sync = answer.json()["_sync"]
            assert sync["cursor"] == answer.headers["sync-cursor"]
            assert sync["counts"] == {"account": 1, "contact": 1, "order": 0}
            assert sync["asOf"] == answer.headers["sync-as-of"]
            assert list(answer.json()) == ["_sync", *OBJECTS]

    run(scenario)


def test_an_empty_delta_advances_the_cursor_and_becomes_a_304(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        before = await device.cursor()
        await running.publish([*WORLDS, world({A1: 1, A3: 3, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]})])
        answer = await device.get("north", since=before)
        assert answer.json() == EMPTY
        assert answer.headers["sync-cursor"] != before
        # A publication in other territories does not make a cached answer stale.
        await running.publish([*WORLDS, WORLDS[4], WORLDS[4]])
        again = await device.get("north", {"If-None-Match": answer.headers["etag"]}, since=before)
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["sync-cursor"] != answer.headers["sync-cursor"]

    run(scenario)


def test_an_empty_delta_does_not_read_the_store(run: RunScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        cursor = await device.cursor()

        def forbidden(*_: object) -> None:
            raise AssertionError("the store was read")

        monkeypatch.setattr(running.service.readers, "run", forbidden)
        monkeypatch.setattr(running.service.readers, "run_here", forbidden)
        for since in (cursor, 4):
            answer = await device.get("north", since=since)
            assert answer.json() == EMPTY
            known = {"If-None-Match": answer.headers["etag"]}
            assert (await device.get("north", known, since=since)).status_code == 304

    run(scenario)


def test_a_delta_that_the_device_has_becomes_a_304(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        answer = await device.get("north", since=1)
        assert (await device.get("north", {"If-None-Match": answer.headers["etag"]}, since=1)).status_code == 304
        assert (await device.get("north", {"If-None-Match": '"other"'}, since=1)).status_code == 200
        await running.publish([*WORLDS, world({A1: 2}, {"T-NORTH": [A1]})])
        assert (await device.get("north", {"If-None-Match": answer.headers["etag"]}, since=1)).status_code == 200

    run(scenario)


def test_a_time_is_rounded_down_to_a_publication_and_marked_inexact(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        expected = (await device.get("north", since=2)).json()
        moment = published_at(2).strftime("%Y-%m-%dT%H:%M:%S")
        for since in (moment + "Z", moment + "+00:00", moment + ".9Z", moment.replace("06:", "07:") + "+01:00"):
            answer = await device.get("north", since=since)
            assert answer.headers["sync-exact"] == "false"
            assert answer.json() == expected, since
        everything = await device.get("north", since="2020-01-01T00:00:00Z")
        assert everything.json() == (await device.get("north", since=0)).json()
        assert (await device.get("north", since=2)).headers["sync-exact"] == "true"

    run(scenario)


def test_a_cursor_of_another_scope_gets_the_exact_difference_between_the_scopes(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", "T-SOUTH")
        north = await device.cursor("north")
        answer = await device.get("south", since=north, reasons="true")
        assert answer.json()["account"] == {
            "insert": [json.loads(body_of(A3, 2))],
            "update": [],
            "deleted": [{"rowId": "A1", "reason": "moved"}],
        }
        assert answer.json()["contact"] == EMPTY["contact"], "both see the contact"

    run(scenario)


def test_all_territories_are_one_view_in_which_a_moved_row_stays(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("North", "South")
        cursor = await device.cursor("/v1/delta")
        answer = await device.get("/v1/delta", since=1)
        assert [entry["rowId"] for entry in answer.json()["account"]["deleted"]] == ["A2"]
        assert [row["accountId"] for row in answer.json()["account"]["update"]] == ["A3"]
        assert answer.headers["sync-counts"] == "account=2, contact=1, order=0"
        assert (await device.get("/v1/delta", since=cursor)).json() == EMPTY

    run(scenario)


def test_losing_a_territory_gives_deletes_with_nothing_but_the_id(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        cursor = await running.device("T-NORTH", "T-SOUTH").cursor("/v1/delta")
        answer = await running.device("T-NORTH").get("/v1/delta", since=cursor)
        assert answer.json()["account"] == {"insert": [], "update": [], "deleted": [{"rowId": "A3"}]}
        revoked = await running.device().get("/v1/delta", since=cursor)
        assert revoked.json() == EMPTY | {
            "account": {"insert": [], "update": [], "deleted": [{"rowId": "A1"}, {"rowId": "A3"}]},
            "contact": {"insert": [], "update": [], "deleted": [{"rowId": "C1"}]},
        }

    run(scenario)


def test_pages_together_equal_the_whole_answer_and_only_the_last_has_the_cursor(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        whole = (await device.get("north", since=1)).json()
        found, answer = [], await device.get("north", since=1, limit=1)
        while "link" in answer.headers:
            assert answer.headers["sync-complete"] == "false"
            assert "sync-cursor" not in answer.headers
            found.append(answer.json())
            await running.publish([*WORLDS, *[world({A1: n}, {"T-NORTH": [A1]}) for n in range(2, 2 + len(found))]])
            link, _, relation = answer.headers["link"].partition(">; ")
            assert relation == 'rel="next"'
            answer = await device.get(link.removeprefix("<"))
        found.append(answer.json())
        assert answer.headers["sync-complete"] == "true"
        for name in OBJECTS:
            for operation in ("insert", "update", "deleted"):
                assert [e for page in found for e in page[name][operation]] == whole[name][operation]
        # The cursor is at the publication that the pages show, not at the newest one.
        after = (await device.get("north", since=answer.headers["sync-cursor"])).json()
        assert [row["accountId"] for row in after["account"]["update"]] == ["A1"]

    run(scenario)


def test_syncing_some_objects_loses_no_change_of_the_others(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        start = await device.cursor("north", since=1)
        await running.publish([*WORLDS, world({A1: 2, C1: 2}, {"T-NORTH": [A1, C1]})])
        accounts = await device.get("north", since=start, objects="account")
        assert list(accounts.json()) == ["account"]
        assert accounts.headers["sync-counts"] == "account=1"
        rest = await device.get("north", since=accounts.headers["sync-cursor"])
        assert rest.json() == EMPTY | {"contact": {"insert": [], "update": [json.loads(body_of(C1, 2))], "deleted": []}}
        paged = await device.get("north", since=accounts.headers["sync-cursor"], limit=1)
        assert paged.json() == rest.json()
        # A first sync of some objects, continued with all of them.
        some = await device.get("north", objects="contact,order")
        more = await device.get("north", since=some.headers["sync-cursor"])
        assert [row["accountId"] for row in more.json()["account"]["insert"]] == ["A1"]
        assert more.json()["contact"] == EMPTY["contact"]

    run(scenario)


@pytest.mark.parametrize("since", [{}, {"since": 1}, {"since": 4}])
def test_ndjson_has_the_same_operations_and_a_trailer(run: RunScenario, since: dict[str, int]) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        plain = await device.get("north", **since)
        answer = await device.get("north", {"Accept": "application/x-ndjson"}, limit=1, **since)
        assert answer.headers["content-type"] == "application/x-ndjson"
        *lines, last = [json.loads(line) for line in answer.text.splitlines()]
        collected = json.loads(json.dumps(EMPTY))
        for line in lines:
            collected[line["object"]][line["op"]].append(line.get("row") or {"rowId": line["rowId"]})
        assert collected == plain.json()
        assert last["trailer"]["cursor"] == plain.headers["sync-cursor"]
        assert last["trailer"]["complete"] is True
        assert last["trailer"]["counts"] == {"account": 1, "contact": 1, "order": 0}

    run(scenario)


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_the_coding_is_chosen_by_weight_and_tiny_answers_have_none(run: RunScenario, accept: str) -> None:
    big = world(
        {("account", f"B{n}"): "x" * 100 for n in range(50)}, {"T-NORTH": [("account", f"B{n}") for n in range(50)]}
    )

    async def scenario(running: Running) -> None:
        await running.publish([*WORLDS, big])
        device = running.device("T-NORTH")
        decoders = {"gzip": gzip.decompress, "zstd": zstd.decompress}
        plain = await device.get("north", {"Accept": accept, "Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        for wanted, expected in (
            ("zstd, gzip", "zstd"),
            ("gzip", "gzip"),
            ("zstd;q=0.1, gzip;q=0.9", "gzip"),
            # Many clients that send * cannot read zstd.
            ("*", "gzip"),
        ):
            request = running.client.build_request(
                "GET", "/v1/delta", headers=device.headers | {"Accept": accept, "Accept-Encoding": wanted}
            )
            answer = await running.client.send(request, stream=True)
            raw = b"".join([piece async for piece in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == expected
            assert decoders[expected](raw) == plain.content
            assert len(raw) < len(plain.content) / 2
        tiny = await device.get("north", {"Accept": "application/json", "Accept-Encoding": "gzip"}, since=5)
        assert "content-encoding" not in tiny.headers

    run(scenario)


def test_a_long_poll_returns_when_its_own_territory_changes(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        cursor = await device.cursor()
        polls = [asyncio.create_task(device.get("north", since=cursor, wait=30)) for _ in range(3)]
        polls.append(asyncio.create_task(device.get("north", {"Prefer": "wait=30"}, since=cursor)))
        await until(lambda: running.service.watch.waiting == len(polls))
        south_only = world({A1: 1, A3: 3, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]})
        await running.publish([*WORLDS, south_only])
        for _ in range(10):
            await asyncio.sleep(0)
            assert running.service.watch.waiting == len(polls)
        assert not any(poll.done() for poll in polls)
        await running.publish([*WORLDS, south_only, world({A1: 9, C1: 1}, {"T-NORTH": [A1, C1]})])
        for answer in await asyncio.wait_for(asyncio.gather(*polls), timeout=5):
            assert [row["name"] for row in answer.json()["account"]["update"]] == ["content 9"]
        assert answer.headers["preference-applied"] == "wait=30"

    run(scenario)


def test_a_long_poll_ends_with_an_empty_delta_when_its_time_is_over(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        started = time.monotonic()
        answer = await device.get("north", since=4, wait=1)
        assert answer.json() == EMPTY
        assert 0.9 < time.monotonic() - started < 5

    run(scenario)


def test_a_newer_as_of_time_is_served_without_a_publication(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        before = await device.get("north", since=4)
        running.writer.confirm_as_of(published_at(100))
        await running.service.watch.look()
        after = await device.get("north", since=4)
        assert datetime.fromisoformat(after.headers["sync-as-of"][:23] + "Z") == published_at(100)
        assert after.headers["sync-cursor"] == before.headers["sync-cursor"]

    run(scenario)


def test_the_list_of_territories_has_those_that_the_token_covers(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("South", "T-NORTH", "T-UNKNOWN", "Twin")
        listed = (await device.get("/v1/territories")).json()["territories"]
        assert [(entry["id"], entry["name"]) for entry in listed] == [("T-NORTH", "North"), ("T-SOUTH", "South")]
        assert listed[0]["counts"] == {"account": 1, "contact": 1, "order": 0}
        assert (await device.get("north", since=listed[0]["cursor"])).json() == EMPTY
        assert (await device.get(listed[1]["delta"])).status_code == 200

    run(scenario)


def test_a_territory_is_found_by_its_unique_name(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        by_id = await running.device("North").get("north")
        by_name = await running.device("T-NORTH").get("/v1/territories/North/delta")
        assert by_id.content == by_name.content
        assert (await running.device("Twin").get("/v1/territories/Twin/delta")).status_code == 404
        assert (await running.device("Twin").get("/v1/territories/T-EAST/delta")).status_code == 403
        assert (await running.device("T-EAST").get("/v1/territories/T-EAST/delta")).status_code == 200

    run(scenario)


@pytest.mark.parametrize("question", [{}, {"since": 1}], ids=["a first sync", "a small delta"])
def test_many_devices_with_the_same_request_cost_one_read(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch, question: dict[str, int]
) -> None:
    async def scenario(running: Running) -> None:
        readers, reads = running.service.readers, list[object]()
        in_thread, here = readers.run, readers.run_here

        async def counted(work: Callable[..., Any], *arguments: Any) -> Any:
            reads.append(work)
            return await in_thread(work, *arguments)

        def counted_here(work: Callable[..., Any]) -> Any:
            reads.append(work)
            return here(work)

        monkeypatch.setattr(readers, "run", counted)
        monkeypatch.setattr(readers, "run_here", counted_here)
        answers = await asyncio.gather(
            *(running.device("T-NORTH", sub=str(n)).get("north", **question) for n in range(20))
        )
        assert len({answer.content for answer in answers}) == 1
        assert len(reads) == 1

    run(scenario)


def test_a_cursor_older_than_the_recent_changes_in_memory_gets_all_changes(run: RunScenario) -> None:
    many = [("account", f"B{number}") for number in range(FEW_ROWS + 1)]

    def changed(many_content: int, content: int) -> World:
        return world(dict.fromkeys(many, many_content) | {A1: content}, {"T-NORTH": [A1, *many]})

    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        for since, count in ((3, 1), (2, 1), (1, FEW_ROWS + 2)):
            assert len((await device.get("north", since=since)).json()["account"]["update"]) == count

    worlds = [World(), changed(1, 1), changed(2, 2), changed(2, 2), changed(2, 3)]
    run(scenario, worlds=worlds)


def test_a_request_for_some_objects_keeps_the_old_position_for_the_others(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        # The view has not changed between publications 3 and 4.
        since = Cursor(IDENTITY.epoch, (Anchor(("T-NORTH",), 4, None),)).encode(IDENTITY.cursor_key)
        found = (await device.get("north", since=since, objects="account")).headers["sync-cursor"]
        others = decode_cursor(found, IDENTITY.cursor_key, IDENTITY.epoch).anchors[1]
        assert others == Anchor(("T-NORTH",), 4, ("contact", "order"))

    run(scenario, published=5, worlds=[*WORLDS, world({A1: 2, C1: 2}, {"T-NORTH": [A1, C1]})])


def test_a_finished_page_is_kept_while_publications_do_not_touch_its_view(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        before = await device.get("north", since=1)
        elsewhere = world({A1: 1, A3: 3, C1: 1}, {"T-NORTH": [A1, C1], "T-SOUTH": [A3, C1]})
        await running.publish([*WORLDS, elsewhere])
        monkeypatch.setattr(source, "json_body", None)
        after = await device.get("north", since=1)
        assert after.content == before.content
        assert after.headers["sync-cursor"] != before.headers["sync-cursor"]

    run(scenario)


def test_the_store_can_be_replaced_while_the_service_runs(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("North", "South")
        cursor = await device.cursor()
        changed_in_the_south = (await device.get("south", since=3)).json()
        assert changed_in_the_south["account"]["update"]
        page = (await device.get("north", since=1, limit=1)).headers["link"].split(">")[0].removeprefix("<")
        running.writer.replace(full_copy(WORLDS, ["T-NORTH", "T-SOUTH"]))
        await running.service.watch.look()
        assert (await device.get("north", since=cursor)).json() == EMPTY
        assert _ids((await device.get("north", since=1)).json()["account"]["deleted"]) == ["A2", "A3"]
        assert (await device.get("south", since=3)).json() == changed_in_the_south
        assert (await device.get(page)).json()["code"] == "page-expired"

    run(scenario)


def test_a_repeated_answer_is_identical_and_logged_and_is_dropped_at_the_next_publication(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        first = await device.get("north", since=1)
        # The store is not read again.
        monkeypatch.setattr(running.service.readers, "run", None)
        monkeypatch.setattr(running.service.readers, "run_here", None)
        write_records()
        with caplog.at_level("INFO", logger="delta_service.audit"):
            again = await device.get("north", {"X-Request-Id": "again"}, since=1)
            write_records()
        monkeypatch.undo()
        assert (again.content, again.headers) == (first.content, first.headers)
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith("delivered scope=T-NORTH from=1@T-NORTH to=4 kind=page insert=1 update=0 deleted=2 ")
        assert line.endswith(" request=again")
        assert "A2" not in line
        await running.publish([*WORLDS, world({A1: 2}, {"T-NORTH": [A1]})])
        later = await device.get("north", since=1)
        assert len(later.json()["account"]["update"]) == 1
        assert (await running.device("T-SOUTH").get("north", since=1)).status_code == 403

    run(scenario)
