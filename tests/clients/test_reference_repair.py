"""How the reference client handles damaged rows, lost cursors, refusals and invalid answers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import httpx
import pytest

from delta_client.connection import ProblemError, UnreachableError
from delta_client.database import Database, State
from delta_client.device import DivergedError, RevokedError, Step
from tests.clients.conftest import Served, served
from tests.clients.devices import Line, damage, device, pulled, rows_in
from tests.waiting import wait_until

T1 = "/v1/territories/T1"

pytestmark = pytest.mark.processes

DAMAGES = {
    "a changed text": "UPDATE row SET body = replace(body, '{', '{ ') WHERE id IN (SELECT id FROM row LIMIT 3)",
    "lost rows": "DELETE FROM row WHERE object = 'contact' AND substr(id, -1) = '0'",
    "stray rows": "INSERT INTO row VALUES ('order', 'stray', '{\"orderId\":\"stray\"}')",
    "an object nobody serves": "INSERT INTO row VALUES ('martian', '1', '{}')",
    "all rows": "DELETE FROM row",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_rows_are_found_by_the_digest_and_repaired(service: Served, file: Path, kind: str) -> None:
    pulled(service, file, "T1", "T2")
    assert damage(file, DAMAGES[kind]) > 0
    outcome = pulled(service, file, "T1", "T2")
    expected = {
        "an object nobody serves": (Step.DELTA, Step.RECONCILE, Step.SNAPSHOT),
        "all rows": (Step.DELTA, Step.SNAPSHOT),
    }
    assert outcome.steps == expected.get(kind, (Step.DELTA, Step.RECONCILE))
    assert rows_in(file) == service.publications.view(["T1", "T2"])


def test_the_cost_of_a_repair_depends_on_the_damage_and_not_on_the_rows_held(tmp_path: Path, file: Path) -> None:
    whole, repair = Line(), Line()
    with served(tmp_path, seed=3, accounts=5_000) as service:
        pulled(service, file, "T1", "T2", line=whole, page_rows=5_000)
        assert damage(file, "DELETE FROM row WHERE id IN (SELECT id FROM row LIMIT 5)") == 5
        outcome = pulled(service, file, "T1", "T2", line=repair)
        assert outcome.steps == (Step.DELTA, Step.RECONCILE)
        assert outcome.operations == 5
        assert rows_in(file) == service.publications.view(["T1", "T2"])
    # Three objects of 256 digests, and the versions in five buckets.
    assert repair.transferred_bytes < 22_000
    assert whole.transferred_bytes > 20 * repair.transferred_bytes


def test_a_lapse_beyond_the_horizon_is_reconciled(service: Served, file: Path) -> None:
    pulled(service, file, "T1")
    service.step(5)
    service.publications.lapse()
    line = Line()
    wait_until(
        lambda: pulled(service, file, "T1", line=line).steps == (Step.DELTA, Step.RECONCILE),
        20,
        "the history is forgotten",
    )
    assert rows_in(file) == service.publications.view(["T1"])
    assert pulled(service, file, "T1").steps == (Step.DELTA,)


@pytest.mark.parametrize("cursor", ["nonsense", "9999999", "c1.eyI.x"])
def test_a_cursor_that_the_service_rejects_is_reconciled(service: Served, file: Path, cursor: str) -> None:
    pulled(service, file, "T1")
    damage(file, f"UPDATE sync SET cursor = '{cursor}'")
    assert pulled(service, file, "T1").steps == (Step.DELTA, Step.RECONCILE)
    assert rows_in(file) == service.publications.view(["T1"])


def test_a_rebuilt_store_is_reconciled_even_after_an_interrupted_answer(tmp_path: Path, file: Path) -> None:
    with served(tmp_path, seed=5, accounts=100) as service:
        pulled(service, file, "T1")
        service.publications.realign("T2", "T1", 1)
        service.publications.await_served(service.http)
        line = Line()
        line.cut_after = 2
        with pytest.raises(UnreachableError), device(service, file, "T1", line=line) as (client, _):
            client.sync(patience_seconds=0)
        service.publications.rebuild()
        service.publications.await_served(service.http)
        assert pulled(service, file, "T1").steps == (Step.DELTA, Step.RECONCILE)
        assert rows_in(file) == service.publications.view(["T1"])
        service.step(3)
        assert pulled(service, file, "T1").steps == (Step.DELTA,)
        assert rows_in(file) == service.publications.view(["T1"])


def test_without_reconcile_the_device_is_repaired_by_a_snapshot(service: Served, file: Path) -> None:
    pulled(service, file, "T1")
    damage(file, DAMAGES["lost rows"])
    line = Line()
    line.answer = lambda request: httpx.Response(404) if request.method == "POST" else None
    assert pulled(service, file, "T1", line=line).steps == (Step.DELTA, Step.RECONCILE, Step.SNAPSHOT)
    assert rows_in(file) == service.publications.view(["T1"])


def test_a_revoked_territory_is_wiped_and_leaves_nothing_in_the_file(service: Served, file: Path) -> None:
    pulled(service, file, "T1", route=T1)
    (text, *_) = service.publications.view(["T1"])["account"].values()
    with pytest.raises(RevokedError), device(service, file, "T2", route=T1) as (client, database):
        client.sync()
    assert rows_in(file) == {}
    with Database(file) as database:
        assert database.state == State()
    left = b"".join(path.read_bytes() for path in file.parent.glob(file.name + "*"))
    assert text.encode() not in left
    assert json.loads(text)["accountId"].encode() not in left


def refused(status: int, code: str = "", **members: str) -> httpx.Response:
    headers = {"content-type": "application/problem+json"}
    return httpx.Response(status, json={"code": code, **members}, headers=headers)


@pytest.mark.parametrize("refusal", [refused(401, "unauthorized"), httpx.Response(403), refused(404, "not-found")])
def test_other_refusals_end_the_sync_and_keep_the_data(service: Served, file: Path, refusal: httpx.Response) -> None:
    pulled(service, file, "T1")
    line = Line()
    line.answer = lambda _: httpx.Response(refusal.status_code, headers=refusal.headers, content=refusal.content)
    with pytest.raises(ProblemError):
        pulled(service, file, "T1", line=line)
    assert len(line.requests) == 1
    assert rows_in(file) == service.publications.view(["T1"])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_after_temporary_errors_the_device_waits_as_long_as_the_service_asks(
    service: Served, file: Path, status: int
) -> None:
    slept: list[float] = []
    line = Line()
    answers = iter([httpx.Response(status, headers={"retry-after": "7"}), httpx.Response(status)])
    line.answer = lambda _: next(answers, None)
    pulled(service, file, "T1", line=line, sleep=slept.append)
    assert 7 <= slept[0] <= 8.75
    assert 0 < slept[1] < 2
    assert rows_in(file) == service.publications.view(["T1"])


def answer_with(headers: dict[str, str], body: str, _: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers=headers, text=body)


def test_an_answer_that_breaks_the_contract_changes_nothing(service: Served, file: Path) -> None:
    pulled(service, file, "T1")
    before = rows_in(file)
    service.step()
    good = {
        "sync-complete": "true",
        "sync-cursor": "c",
        "sync-counts": "account=0",
        "sync-digest": f"account={'0' * 16}",
    }
    good["sync-next-expected"] = "30"
    row = '{"accountId":"A"}'
    twice = f'{{"account":{{"insert":[{row},{row}],"update":[],"deleted":[]}}}}'
    whole = f'{{"account":{{"insert":[{row}],"update":[],"deleted":[{{"rowId":"B"}}]}}}}'
    broken = [({name: text for name, text in good.items() if name != left_out}, whole) for left_out in good]
    broken += [(good, whole[:length]) for length in range(len(whole))]
    broken += [
        (good, twice),
        (good, whole + "x"),
        (good | {"sync-complete": "false", "link": '<http://e/>; rel="next"'}, whole),
    ]
    for headers, body in broken:
        line = Line()
        line.answer = partial(answer_with, headers, body)
        with (
            pytest.raises(Exception, match=r"answer|header|body|page"),
            device(service, file, "T1", line=line) as (client, _),
        ):
            client.sync(patience_seconds=0)
        assert len(line.requests) == 1
        assert rows_in(file) == before


def test_a_digest_that_never_matches_is_an_error(service: Served, file: Path) -> None:
    line = Line()

    def lying(request: httpx.Request) -> httpx.Response | None:
        response = line.inner.handle_request(request)
        response.read()
        if "sync-digest" in response.headers:
            response.headers["sync-digest"] = "account=1, contact=2, order=3"
        return response

    line.answer = lying
    with pytest.raises(DivergedError):
        pulled(service, file, "T1", line=line)
    assert any(path.endswith("reconcile") for path in line.paths)
