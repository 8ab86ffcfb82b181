"""What the device requests and applies, when it waits and when it stops, for given sequences of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.node import copied_modules, needs_node, run_node
from tests.e2e.device import digest_of

pytestmark = [pytest.mark.processes, needs_node]

View = dict[str, str]
"""Accounts: id to text."""
Answer = dict[str, Any]
DELTA = "GET /v1/territories/T%201/delta"
DIGEST = "GET /v1/territories/T%201/digest"
RECONCILE = "POST /v1/territories/T%201/reconcile"
SINCE = f"{DELTA}?since="


def row(account: str, name: str = "x") -> str:
    return f'{{"accountId":"{account}","accountName":"{name}","revenue":1200.50}}'


A, B, C = ({name: row(name)} for name in "ABC")


def body(insert: View | None = None, update: View | None = None, deleted: str = "") -> str:
    gone = ",".join(f'{{"rowId":"{account}"}}' for account in deleted)
    lists = [f"[{','.join((rows or {}).values())}]" for rows in (insert, update)]
    return f'{{"account":{{"insert":{lists[0]},"update":{lists[1]},"deleted":[{gone}]}}}}'


def last_page(cursor: str, view: View, content: str = body(), **more: str) -> Answer:
    facts = {
        "Sync-Complete": "true",
        "Sync-Cursor": cursor,
        "Sync-Counts": f"account={len(view)}",
        "Sync-Digest": f"account={digest_of('account', {name: text.encode() for name, text in view.items()})}",
        "Sync-Next-Expected": "30",
    }
    return {
        "status": 200,
        "headers": facts | {name.replace("_", "-"): value for name, value in more.items()},
        "body": content,
    }


def page_before(link: str, content: str) -> Answer:
    return {"status": 200, "headers": {"Sync-Complete": "false", "Link": f'<{link}>; rel="next"'}, "body": content}


def problem(status: int, code: str, action: str | None = None, **headers: str) -> Answer:
    document = {"code": code, "detail": f"It is {code}."} | ({"action": action} if action else {})
    return {
        "status": status,
        "headers": {k.replace("_", "-"): v for k, v in headers.items()},
        "body": json.dumps(document),
    }


class Played:
    def __init__(self, seen: dict[str, Any]) -> None:
        self.asked: list[str] = [request["ask"] for request in seen["requests"]]
        self.bodies: list[Any] = [request.get("body") for request in seen["requests"]]
        self.tokens = {request["token"] for request in seen["requests"]}
        self.sleeps_ms: list[float] = seen["sleeps"]
        self.transactions: list[dict[str, Any]] = seen["transactions"]
        self.rows: View = {row_id: text for _, row_id, text in seen["rows"]}
        self.cursor: str | None = seen["cursor"]
        self.proofs: list[bool] = [e["identical"] for e in seen["events"] if e["kind"] == "verified"]
        self.problems: list[str] = [e["error"] for e in seen["events"] if e["kind"] == "problem"]
        self.changes: list[dict[str, list[str]]] = [
            {kind: [r["id"] for r in rows] for kind, rows in e["change"].items() if rows}
            for e in seen["events"]
            if e["kind"] == "applied"
        ]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_modules(tmp_path_factory.mktemp("page"))


@pytest.fixture
def play(modules: Path) -> Any:
    def run(*answers: Answer, held: View | None = None, cursor: str | None = None) -> Played:
        rows = [{"object": "account", "id": name, "text": text} for name, text in (held or {}).items()]
        scenario = {"stored": {"cursor": cursor, "rows": rows}, "answers": answers}
        script = str(Path(__file__).with_name("play.mjs"))
        return Played(run_node([script, str(modules)], text=json.dumps(scenario), folder=modules))

    return run


def test_a_first_sync_applies_all_pages_in_one_transaction_and_then_long_polls(play: Any) -> None:
    played = play(
        page_before("/v1/page2", body(A)),
        last_page("c1", A | B, body(B), Sync_Mode="replace"),
        last_page("c2", A | B | C, body(C)),
        last_page("c3", A | B, body(deleted="C")),
    )
    assert played.asked == [DELTA, "GET /v1/page2", f"{SINCE}c1&wait=25", f"{SINCE}c2&wait=25"]
    assert played.tokens == {"Bearer a-token"}
    assert [t["puts"] for t in played.transactions] == [["A", "B"], ["C"], []]
    assert [t["cursor"] for t in played.transactions] == ["c1", "c2", "c3"]
    assert played.proofs == [True] * 3
    assert played.rows == A | B


def test_a_page_that_does_not_arrive_changes_nothing(play: Any) -> None:
    played = play(page_before("/v1/page2", body(B)), {"unreachable": True}, held=A, cursor="c1")
    assert played.transactions == []
    assert played.rows == A
    assert played.cursor == "c1"
    assert played.problems[0] == "The service does not answer."


@pytest.mark.parametrize(
    "broken",
    [
        last_page("c2", A | B, body(B)[:-5]),
        page_before("", body(B)) | {"headers": {"Sync-Complete": "false"}},
        {"status": 200, "headers": {"Sync-Complete": "true", "Sync-Cursor": "c2"}, "body": body(B)},
    ],
    ids=["cut off", "no next page", "no digests"],
)
def test_an_incomplete_answer_is_not_applied(play: Any, broken: Answer) -> None:
    played = play(broken, last_page("c2", A | B, body(B)), held=A, cursor="c1")
    assert played.asked[:2] == [f"{SINCE}c1", f"{SINCE}c1"]
    assert len(played.transactions) == 1
    assert played.rows == A | B


def test_a_snapshot_removes_unlisted_rows_and_reports_only_changes(play: Any) -> None:
    changed = {"B": row("B", "new")}
    played = play(
        problem(410, "cursor-expired", "snapshot"),
        last_page("c9", changed | C, body(changed | C), Sync_Mode="replace"),
        held=A | B, cursor="c1",
    )  # fmt: skip
    assert played.asked[:2] == [f"{SINCE}c1", DELTA]
    assert played.changes == [{"inserted": ["C"], "updated": ["B"], "deleted": ["A"]}]
    assert played.rows == changed | C
    assert played.sleeps_ms == []


@pytest.mark.parametrize(
    "lost",
    [
        problem(410, "cursor-expired", "reconcile"),
        problem(409, "cursor-epoch", "reconcile"),
        problem(400, "cursor-malformed"),
    ],
)
def test_an_unusable_cursor_is_repaired_by_reconciling_without_loading_everything(play: Any, lost: Answer) -> None:
    compared = {"cursor": "c9", "differing": {"account": list(range(256))}}
    played = play(
        lost,
        {"status": 200, "headers": {}, "body": '{"counts":{"account":2}}'},
        {"status": 200, "headers": {}, "body": json.dumps(compared)},
        last_page("c9", A | C, body(C, deleted="B")),
        held=A | B, cursor="c1",
    )  # fmt: skip
    assert played.asked == [f"{SINCE}c1", DIGEST, RECONCILE, RECONCILE]
    assert set(played.bodies[2]["buckets"]) == {"account"}
    assert set(played.bodies[3]["versions"]["account"]) == {"A", "B"}
    assert played.rows == A | C
    assert played.cursor == "c9"


def test_after_an_expired_page_the_device_starts_again_from_its_cursor(play: Any) -> None:
    played = play(
        page_before("/v1/page2", body(B)),
        problem(410, "page-expired", "restart"),
        last_page("c2", A | B, body(B)),
        held=A, cursor="c1",
    )  # fmt: skip
    assert played.asked == [f"{SINCE}c1", "GET /v1/page2", f"{SINCE}c1"]
    assert played.rows == A | B


@pytest.mark.parametrize("drifted", [A, A | {"B": row("B", "drifted")}], ids=["a row is missing", "a row differs"])
def test_a_difference_is_repaired_by_reconcile_then_by_snapshot_then_by_a_later_snapshot(
    play: Any, drifted: View
) -> None:
    wrong = last_page("c2", A | B)
    compared = {"cursor": "c2", "differing": {"account": []}}
    played = play(
        wrong,
        {"status": 200, "headers": {}, "body": '{"counts":{"account":2}}'},
        {"status": 200, "headers": {}, "body": json.dumps(compared)},
        wrong,
        last_page("c3", A | B, body(drifted), Sync_Mode="replace"),
        last_page("c4", A | B, body(A | B), Sync_Mode="replace"),
        held=drifted, cursor="c1",
    )  # fmt: skip
    assert played.asked == [f"{SINCE}c1", DIGEST, RECONCILE, RECONCILE, DELTA, DELTA]
    assert played.proofs == [False, False, False, True]
    assert len(played.sleeps_ms) == 1
    assert played.rows == A | B


def test_retry_after_is_respected_and_other_waits_grow(play: Any) -> None:
    played = play(problem(429, "rate-limited", Retry_After="7"), held=A, cursor="c1")
    assert 7000 <= played.sleeps_ms[0] <= 8750
    played = play(*[problem(503, "store-unavailable")] * 9, held=A, cursor="c1")
    for sleep_ms, least_ms in zip(
        played.sleeps_ms, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000], strict=False
    ):
        assert least_ms <= sleep_ms <= least_ms * 1.25
    assert played.rows == A


def test_a_server_without_long_polls_is_polled_with_pauses(play: Any) -> None:
    played = play(*[last_page(f"c{n}", A) for n in range(2, 5)], held=A, cursor="c1")
    assert played.asked == [f"{SINCE}c1", f"{SINCE}c2&wait=25", f"{SINCE}c3&wait=25"]
    assert len(played.sleeps_ms) == 2
    assert all(30_000 <= sleep_ms <= 37_500 for sleep_ms in played.sleeps_ms)


def test_an_expired_token_stops_the_device_and_keeps_its_rows(play: Any) -> None:
    played = play(problem(401, "unauthorized"), last_page("c2", A), held=A, cursor="c1")
    assert played.asked == [f"{SINCE}c1"]
    assert played.rows == A
    assert played.transactions == []


def test_a_device_that_lost_access_to_its_territory_is_wiped(play: Any) -> None:
    played = play(problem(403, "scope-denied"), last_page("c2", A), held=A, cursor="c1")
    assert played.asked == [f"{SINCE}c1"]
    assert played.rows == {}
    assert played.transactions == [{"replace": True, "puts": [], "deletes": [], "cursor": None}]
    assert played.changes == [{"deleted": ["A"]}]
