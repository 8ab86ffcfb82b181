"""Section 6 of the contract over HTTP: digests that prove convergence, and repair in two rounds."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from delta_service import repair
from delta_service.cursor import Anchor, Cursor
from tests.delta_service.conftest import A1, A2, A3, C1, WORLDS, Device, Running, RunScenario, world
from tests.delta_service.model import IDENTITY, OBJECTS, Row, World, digest_of, version_of
from tests.delta_service.problems import assert_problem

NORTH, SOUTH = "/v1/territories/T-NORTH", "/v1/territories/T-SOUTH"
EMPTY: dict[str, dict[str, list[Any]]] = {name: {"insert": [], "update": [], "deleted": []} for name in OBJECTS}
View = dict[Row, str]


def bucket_of(row: Row) -> int:
    return int(hashlib.sha256(row[1].encode()).hexdigest()[:2], 16)


def buckets_of(view: View) -> dict[str, list[str]]:
    """Bucket digests as a device computes them."""
    sums = {name: [0] * 256 for name in OBJECTS}
    for row, body in view.items():
        sums[row[0]][bucket_of(row)] += digest_of(row, body)
    return {name: [f"{total % 2**64:016x}" for total in totals] for name, totals in sums.items()}


def versions_of(view: View, differing: dict[str, list[int]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {name: {} for name in differing}
    for row, body in view.items():
        if bucket_of(row) in differing.get(row[0], ()):
            found[row[0]][row[1]] = f"{version_of(body):016x}"
    return found


def applied(view: View, delta: dict[str, Any]) -> View:
    result = dict(view)
    for name, changes in delta.items():
        for entry in changes["deleted"]:
            del result[name, entry["rowId"]]
        for content in changes["insert"]:
            assert (name, content[f"{name}Id"]) not in result
        for content in changes["update"]:
            assert (name, content[f"{name}Id"]) in result
        for content in changes["insert"] + changes["update"]:
            result[name, content[f"{name}Id"]] = json.dumps(content, separators=(",", ":"))
    return result


async def reconciled(device: Device, path: str, view: View, **round_one: str) -> tuple[View, httpx.Response]:
    first = await device.post(f"{path}/reconcile", {"buckets": buckets_of(view)} | round_one)
    assert first.status_code == 200, first.text
    found = first.json()
    second = await device.post(
        f"{path}/reconcile",
        {"cursor": found["cursor"], "differing": found["differing"], "versions": versions_of(view, found["differing"])},
    )
    assert second.status_code == 200, second.text
    assert second.headers["sync-cursor"] == found["cursor"]
    assert "sync-mode" not in second.headers
    return applied(view, second.json()), second


@pytest.mark.parametrize(
    "held",
    [
        {},
        WORLDS[1].view(["T-NORTH"]),
        WORLDS[4].view(["T-NORTH"]),
        {A1: '{"accountId":"A1","name":"damaged"}', ("account", "stray"): "{}", ("order", "O9"): "{}"},
    ],
    ids=["empty", "old", "exact", "damaged"],
)
def test_after_two_rounds_a_device_holds_exactly_the_view(run: RunScenario, held: View) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", "T-SOUTH")
        for path, scope in ((NORTH, ["T-NORTH"]), ("/v1", ["T-NORTH", "T-SOUTH"])):
            view, answer = await reconciled(device, path, held)
            assert view == WORLDS[4].view(scope)
            after = await device.get(f"{path}/delta", since=answer.headers["sync-cursor"])
            assert after.json() == EMPTY
            assert after.headers["sync-digest"] == answer.headers["sync-digest"]

    run(scenario)


def test_a_repair_contains_only_the_difference(run: RunScenario) -> None:
    rows = [("account", f"R{number}") for number in range(300)]

    async def scenario(running: Running) -> None:
        full = world(dict.fromkeys(rows, 1), {"T-NORTH": rows})
        await running.publish([*WORLDS, full])
        held = full.view(["T-NORTH"]) | {rows[7]: "{}"}
        del held[rows[8]]
        _, answer = await reconciled(running.device("T-NORTH"), NORTH, held)
        changes = answer.json()["account"]
        assert [[row["accountId"] for row in changes[kind]] for kind in ("insert", "update")] == [["R8"], ["R7"]]
        assert changes["deleted"] == []
        assert answer.headers["sync-counts"] == "account=300, contact=0, order=0"

    run(scenario)


def test_both_rounds_use_the_same_view_whatever_is_published_between_them(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        first = (await device.post(f"{NORTH}/reconcile", {"buckets": buckets_of({})})).json()
        await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
        repair = {"cursor": first["cursor"], "differing": first["differing"], "versions": {}}
        answer = await device.post(f"{NORTH}/reconcile", repair)
        assert applied({}, answer.json()) == WORLDS[4].view(["T-NORTH"])
        update = (await device.get("north", since=first["cursor"])).json()
        assert applied(WORLDS[4].view(["T-NORTH"]), update) == {A1: '{"accountId":"A1","name":"content 9"}'}

    run(scenario)


def test_a_device_can_compare_at_its_own_cursor_and_an_unusable_one_is_replaced_by_the_newest(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        own = await device.cursor()
        await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
        newest = await device.cursor()
        foreign = Cursor("epoch-0", (Anchor(("T-NORTH",), 1, None),)).encode(b"another key")
        south = Cursor(IDENTITY.epoch, (Anchor(("T-SOUTH",), 4, None),)).encode(IDENTITY.cursor_key)
        for given, compared in ((own, own), (foreign, newest), (south, newest)):
            answer = await device.post(f"{NORTH}/reconcile", {"cursor": given, "buckets": buckets_of({})})
            assert answer.json()["cursor"] == compared
        running.writer.prune(5, 5)
        await running.service.watch.look()
        answer = await device.post(f"{NORTH}/reconcile", {"cursor": own, "buckets": buckets_of({})})
        assert answer.json()["cursor"] == newest

    run(scenario)


def test_repairing_some_objects_loses_no_change_of_the_others(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        digests = {"contact": buckets_of({})["contact"]}
        first = (await device.post(f"{NORTH}/reconcile", {"buckets": digests})).json()
        assert list(first["differing"]) == ["contact"]
        answer = await device.post(f"{NORTH}/reconcile?versions=true&envelope=true", first | {"versions": {}})
        assert list(answer.json()) == ["_sync", "contact"]
        assert answer.json()["_sync"]["cursor"] == answer.headers["sync-cursor"]
        (row,) = answer.json()["contact"]["insert"]
        assert row["_v"] == f"{version_of(WORLDS[4].bodies[C1]):016x}"
        rest = await device.get("north", since=answer.headers["sync-cursor"])
        assert applied({C1: WORLDS[4].bodies[C1]}, rest.json()) == WORLDS[4].view(["T-NORTH"])

    run(scenario)


def test_a_repair_reveals_no_row_outside_the_scope(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        cursor = (await device.post(f"{NORTH}/reconcile", {"buckets": buckets_of({})})).json()["cursor"]
        answers = []
        for row in (A3, ("account", "A3x")):
            asked = {
                "cursor": cursor,
                "differing": {"account": [bucket_of(row)]},
                "versions": {"account": {row[1]: ""}},
            }
            answers.append((await device.post(f"{NORTH}/reconcile", asked)).json()["account"])
        assert answers[0] == {"insert": [], "update": [], "deleted": [{"rowId": "A3"}]}
        assert answers[1] == {"insert": [], "update": [], "deleted": [{"rowId": "A3x"}]}

    run(scenario)


GOOD_BUCKETS = buckets_of({})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "body-invalid"),
        ([], "body-invalid"),
        ({"buckets": {}}, "body-invalid"),
        ({"buckets": {"account": GOOD_BUCKETS["account"][:-1]}}, "body-invalid"),
        ({"buckets": {"account": [*GOOD_BUCKETS["account"][:-1], "xyz"]}}, "body-invalid"),
        ({"buckets": GOOD_BUCKETS, "more": 1}, "body-invalid"),
        ({"buckets": GOOD_BUCKETS | {"martian": GOOD_BUCKETS["account"]}}, "object-unknown"),
        ({"buckets": GOOD_BUCKETS, "cursor": "c1.x.y"}, "cursor-malformed"),
        ({"cursor": "C", "differing": {"account": [256]}, "versions": {}}, "body-invalid"),
        ({"cursor": "C", "differing": {"account": ["1"]}, "versions": {}}, "body-invalid"),
        ({"cursor": "C", "differing": {}, "versions": {"account": {"A1": "short"}}}, "body-invalid"),
        ({"cursor": "C", "differing": {}, "versions": {"account": {"A1": ""}}}, "body-invalid"),
        ({"cursor": "C", "differing": {"martian": [1]}, "versions": {}}, "object-unknown"),
        ({"cursor": "x", "differing": {}, "versions": {}}, "cursor-malformed"),
    ],
)
def test_invalid_reconcile_bodies_are_refused(run: RunScenario, body: Any, code: str) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        if isinstance(body, dict) and body.get("cursor") == "C":
            body["cursor"] = await device.cursor()
        document = assert_problem(await device.post(f"{NORTH}/reconcile", body), 400, code)
        assert "A1" not in document["detail"]

    run(scenario)


def test_reconcile_refuses_cursors_it_cannot_repair_to(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", "T-SOUTH")

        async def answer_to(cursor: str) -> httpx.Response:
            return await device.post(f"{NORTH}/reconcile", {"cursor": cursor, "differing": {}, "versions": {}})

        cursor = await device.cursor()
        assert_problem(await answer_to(await device.cursor("south")), 400, "cursor-malformed")
        foreign = Cursor("epoch-0", (Anchor(("T-NORTH",), 1, None),)).encode(b"another key")
        assert_problem(await answer_to(foreign), 409, "cursor-epoch")
        ahead = Cursor(IDENTITY.epoch, (Anchor(("T-NORTH",), 9, None),)).encode(IDENTITY.cursor_key)
        assert_problem(await answer_to(ahead), 409, "cursor-ahead")
        await running.publish([*WORLDS, world({A1: 9}, {"T-NORTH": [A1]})])
        running.writer.prune(0, 5)
        await running.service.watch.look()
        document = assert_problem(await answer_to(cursor), 410, "page-expired")
        assert document["action"] == "reconcile"
        assert document["links"]["reconcile"] == f"{NORTH}/reconcile"

    run(scenario)


def test_the_sizes_of_reconcile_requests_and_answers_are_limited(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        first = (await device.post(f"{NORTH}/reconcile", {"buckets": buckets_of({})})).json()
        monkeypatch.setattr(repair, "MAX_REPAIR_ROWS", 1)
        document = assert_problem(
            await device.post(f"{NORTH}/reconcile", first | {"versions": {}}), 413, "content-too-large"
        )
        assert document["action"] == "snapshot"
        monkeypatch.setattr(repair, "MAX_BODY_BYTES", 1000)
        answer = await device.post(f"{NORTH}/reconcile", {"buckets": buckets_of({})})
        assert_problem(answer, 413, "content-too-large")

    run(scenario)


def test_reconciles_have_a_rate_limit_of_their_own(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        answers = [await device.post(f"{NORTH}/reconcile", {"buckets": buckets_of({})}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert_problem(answers[2], 429, "rate-limited")
        assert int(answers[2].headers["retry-after"]) > 0
        assert (await device.get("north")).status_code == 200

    run(scenario, reconciles_per_second=1)


def test_the_digest_is_that_of_the_view_at_the_cursor(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", "T-SOUTH")
        for path, scope in ((NORTH, ["T-NORTH"]), (SOUTH, ["T-SOUTH"]), ("/v1", ["T-NORTH", "T-SOUTH"])):
            for seq in range(1, 5):
                view = WORLDS[seq].view(scope)
                whole = World(WORLDS[seq].bodies, frozenset(("*", row) for row in view)).heads(["*"])
                answer = await device.get(f"{path}/digest", cursor=seq, buckets="true")
                digest = answer.json()
                assert digest["counts"] == {name: whole["*", name][0] for name in OBJECTS}
                assert digest["digest"] == {name: f"{whole['*', name][1]:016x}" for name in OBJECTS}
                assert digest["buckets"] == buckets_of(view)
                assert digest["cursor"] == answer.headers["sync-cursor"]
                at_cursor = await device.get(f"{path}/digest", cursor=digest["cursor"])
                assert at_cursor.json()["digest"] == digest["digest"]
                assert "buckets" not in at_cursor.json()
            newest = await device.get(f"{path}/digest")
            assert newest.headers["sync-digest"] == (await device.get(f"{path}/delta")).headers["sync-digest"]

    run(scenario)


def test_digests_are_available_back_to_the_horizon_even_without_bodies(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        before = (await device.get(f"{NORTH}/digest", cursor=2, buckets="true")).json()
        assert before["counts"]["account"] == 2
        await running.publish([*WORLDS, WORLDS[1]])
        running.writer.prune(2, 5)
        await running.service.watch.look()
        assert (await device.get(f"{NORTH}/digest", cursor=2, buckets="true")).json() == before
        assert_problem(await device.get(f"{NORTH}/digest", cursor=1), 410, "cursor-expired")

    run(scenario)


def test_the_digest_for_a_device_with_some_objects_covers_only_these(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        some = await device.get("north", objects="account")
        digest = (await device.get(f"{NORTH}/digest", cursor=some.headers["sync-cursor"])).json()
        assert digest["counts"] == {"account": 1}
        mixed = Cursor(
            IDENTITY.epoch, (Anchor(("T-NORTH",), 1, ("account",)), Anchor(("T-NORTH",), 4, ("contact", "order")))
        )
        digest = (await device.get(f"{NORTH}/digest", cursor=mixed.encode(IDENTITY.cursor_key))).json()
        assert digest["counts"] == {"account": 3, "contact": 1, "order": 0}

    run(scenario)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("since=1", 400, "parameter-unknown"),
        ("cursor=x", 400, "cursor-malformed"),
        ("buckets=1", 400, "parameter-invalid"),
        ("objects=martian", 400, "object-unknown"),
        ("cursor=9", 409, "cursor-ahead"),
    ],
)
def test_invalid_digest_parameters_are_refused(run: RunScenario, query: str, status: int, code: str) -> None:
    async def scenario(running: Running) -> None:
        assert_problem(await running.device("T-NORTH").get(f"{NORTH}/digest?{query}"), status, code)

    run(scenario)


def test_digest_and_reconcile_serve_only_territories_of_the_token(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        south = Cursor(IDENTITY.epoch, (Anchor(("T-SOUTH",), 4, None),)).encode(IDENTITY.cursor_key)
        assert_problem(await device.get(f"{NORTH}/digest", cursor=south), 400, "cursor-malformed")
        for name in ("T-SOUTH", "T-NOWHERE"):
            path = f"/v1/territories/{name}"
            assert_problem(await device.get(f"{path}/digest"), 403, "scope-denied")
            assert_problem(await device.post(f"{path}/reconcile", {"buckets": buckets_of({})}), 403, "scope-denied")
        assert_problem(await running.stranger.get("/v1/digest"), 401, "unauthorized")
        assert_problem(await running.stranger.post("/v1/reconcile", {}), 401, "unauthorized")
        assert_problem(await device.get("/v1/reconcile"), 405, "method-not-allowed")

    run(scenario)


def test_bodies_pruned_between_the_rounds_are_an_error_and_not_a_mixed_answer(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        first = (await device.post(f"{NORTH}/reconcile", {"buckets": buckets_of({})})).json()
        await running.publish([*WORLDS, world({A1: 9, A2: 1}, {"T-NORTH": [A1, A2]})])
        # The service has not noticed this yet.
        running.writer.prune(0, 5)
        answer = await device.post(f"{NORTH}/reconcile", first | {"versions": {}})
        assert_problem(answer, 503, "store-unavailable")
        await running.service.watch.look()
        assert_problem(await device.post(f"{NORTH}/reconcile", first | {"versions": {}}), 410, "page-expired")

    run(scenario)
