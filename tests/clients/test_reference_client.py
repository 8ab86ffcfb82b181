"""The reference client against the real service: whatever happens to it, it ends with the oracle's exact rows."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from delta_client.connection import Connection, ProblemError, UnreachableError
from delta_client.database import ConcurrentUseError, Database, State
from delta_client.device import Device, DivergedError, Outcome, RevokedError, Step
from tests.clients.conftest import Served, bearer, served
from tests.delta_service.test_process import wait_until

# Of the longer test once before a release: 120 is an hour of two crashes a minute.
CRASHES = int(os.environ.get("DELTA_CLIENT_CRASHES", "10"))
T1 = "/v1/territories/T1"
View = dict[str, dict[str, str]]


class Line(httpx.BaseTransport):
    """The network, with a meter; ``cut_after`` requests nothing comes through, ``answer`` may replace answers."""

    def __init__(self) -> None:
        self.inner = httpx.HTTPTransport()
        self.requests: list[httpx.Request] = []
        self.transferred_bytes = 0
        self.cut_after: int | None = None
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.cut_after is not None:
            if not self.cut_after:
                raise httpx.ConnectError("cut")
            self.cut_after -= 1
        self.requests.append(request)
        response = self.answer(request) or self.inner.handle_request(request)
        content = response.read()
        self.transferred_bytes += len(request.content) + len(content)
        return response

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


@contextmanager
def device(
    service: Served,
    path: Path,
    *territories: str,
    route: str = "/v1",
    line: Line | None = None,
    token: str | None = None,
    **options: Any,
) -> Iterator[tuple[Device, Database]]:
    with Connection(service.url, token or bearer(*territories), line) as connection, Database(path) as database:
        yield Device(connection, database, route, **({"page_rows": 20, "sleep": lambda _: None} | options)), database


def rows_in(path: Path) -> View:
    found: View = {}
    for name, row_id, body in apsw.Connection(str(path)).execute("SELECT object, id, body FROM row"):
        found.setdefault(name, {})[row_id] = body
    return found


def pulled(service: Served, path: Path, *territories: str, **options: Any) -> Outcome:
    with device(service, path, *territories, **options) as (client, _):
        return client.sync(patience_seconds=20)


def damage(path: Path, statement: str) -> int:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    return connection.changes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "device.sqlite"


def test_after_every_random_publication_the_device_has_the_exact_rows_as_served(service: Served, file: Path) -> None:
    operations, first = 0, len(service.publications.world.view(["T1"]))
    for publications in range(1, 13):
        outcome = pulled(service, file, "T1", route=T1)
        assert outcome.steps == (Step.DELTA,)
        assert rows_in(file) == service.publications.view(["T1"])
        operations += outcome.operations
        service.step(publications)
    assert operations > first + 20
    pulled(service, file, "T1", route=T1)
    assert pulled(service, file, "T1", route=T1).operations == 0


def test_a_scope_that_changes_is_one_ordinary_delta(service: Served, file: Path) -> None:
    for scope in (["T1"], ["T1", "T2"], ["T2", "T3"], ["T3"], [], ["T1", "T3"]):
        outcome = pulled(service, file, *scope)
        assert outcome.steps == (Step.DELTA,)
        assert rows_in(file) == service.publications.view(scope)
        service.step()


def test_a_device_that_changes_from_one_territory_to_another_keeps_what_both_see(service: Served, file: Path) -> None:
    token = bearer("T1", "T2")
    pulled(service, file, route=T1, token=token)
    line = Line()
    outcome = pulled(service, file, route="/v1/territories/T2", token=token, line=line)
    assert rows_in(file) == service.publications.view(["T2"])
    assert outcome.steps == (Step.DELTA,)
    assert "since" in line.requests[0].url.params


def test_a_first_sync_that_was_cut_goes_on_at_the_next_page_at_its_own_publication(service: Served, file: Path) -> None:
    line = Line()
    line.cut_after = 3
    with device(service, file, "T1", "T2", line=line) as (client, database):
        with pytest.raises(UnreachableError):
            client.sync(patience_seconds=0)
        assert database.row_count == 0
        assert database.staged_count == 60
        assert database.state.cursor is None
        next_page = database.state.next_page
    then = service.publications.view(["T1", "T2"])
    service.step(5)
    line = Line()
    pulled(service, file, "T1", "T2", line=line)
    assert str(line.requests[0].url).endswith(str(next_page))
    assert rows_in(file) == then
    assert not any("since" in request.url.params for request in line.requests)
    pulled(service, file, "T1", "T2")
    assert rows_in(file) == service.publications.view(["T1", "T2"])


def test_a_page_that_can_no_longer_be_read_is_asked_again_from_the_cursor(service: Served, file: Path) -> None:
    service.publications.realign("T3", "T1", 0.5)
    service.publications.await_served(service.http)
    pulled(service, file, "T1")
    service.publications.realign("T1", "T2", 0.5)
    service.publications.await_served(service.http)
    line = Line()
    line.cut_after = 2
    with pytest.raises(UnreachableError), device(service, file, "T1", line=line, page_rows=1) as (client, _):
        client.sync(patience_seconds=0)
    service.step()
    service.publications.writer.prune(0, service.publications.seq)
    wait_until(lambda: page_is_gone(service, file), "the service to notice")
    assert pulled(service, file, "T1").steps == (Step.DELTA,)
    assert rows_in(file) == service.publications.view(["T1"])


def page_is_gone(service: Served, file: Path) -> bool:
    with Database(file) as database:
        page = database.state.next_page
    assert page is not None
    return service.http.get(page, headers={"Authorization": f"Bearer {bearer('T1')}"}).status_code == 410


@pytest.mark.parametrize("territories", [("T1",), ("T1", "T2")])
def test_a_staged_answer_of_another_route_or_token_is_given_up(
    service: Served, file: Path, territories: tuple[str, ...]
) -> None:
    line = Line()
    line.cut_after = 2
    with pytest.raises(UnreachableError), device(service, file, "T2", "T3", line=line) as (client, _):
        client.sync(patience_seconds=0)
    pulled(service, file, *territories)
    assert rows_in(file) == service.publications.view(territories)


def command(service: Served, file: Path, *options: str) -> list[str]:
    arguments = ["--db", str(file), "--url", service.url, "--token", bearer("T1", "T2"), "--page-rows", "5"]
    return [sys.executable, "-m", "delta_client", "pull", *arguments, *options]


def test_a_client_killed_at_random_moments_ends_equal_to_the_oracle(service: Served, file: Path) -> None:
    dice = random.Random(5)
    staged_at_death = 0
    for crash in range(CRASHES):
        process = subprocess.Popen(command(service, file, "--follow"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if crash % 2:
            # Between any two publications, and while it waits.
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(dice.randrange(4)):
                service.publications.step()
        else:
            # In the middle of an answer.
            service.publications.realign("T1", "T3", 0.5)
            service.publications.realign("T3", "T1", 1)
            moment = dice.randrange(1, 30)
            wait_until(lambda: process.poll() is not None or changes_in(file) >= moment, "the device to begin")  # noqa: B023
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr and process.stderr.read()
        with Database(file) as database:
            staged_at_death += database.staged_count > 0
    service.publications.await_served(service.http)
    done = subprocess.run(command(service, file), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    if b" by delta\n" in done.stdout:  # it may have finished an older answer first
        subprocess.run(command(service, file), capture_output=True, timeout=60, check=True)
    assert rows_in(file) == service.publications.view(["T1", "T2"])
    assert staged_at_death, "no crash met a staged page: the test does not test"


def changes_in(file: Path) -> int:
    """Grows with each page that a device stages, and with a first sync's cursor."""
    if not file.exists():
        return 0
    try:
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
        ((staged,),) = connection.execute("SELECT count(*) FROM staged")
        ((rows,),) = connection.execute("SELECT count(*) FROM row")
    except apsw.Error:
        return 0
    return int(staged + rows)


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


def test_a_repair_costs_what_is_damaged_not_what_is_held(tmp_path: Path, file: Path) -> None:
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
    wait_until(lambda: pulled(service, file, "T1", line=line).steps == (Step.DELTA, Step.RECONCILE), "the horizon")
    assert rows_in(file) == service.publications.view(["T1"])
    assert pulled(service, file, "T1").steps == (Step.DELTA,)


@pytest.mark.parametrize("cursor", ["nonsense", "9999999", "c1.eyI.x"])
def test_a_cursor_that_the_service_does_not_take_is_reconciled(service: Served, file: Path, cursor: str) -> None:
    pulled(service, file, "T1")
    damage(file, f"UPDATE sync SET cursor = '{cursor}'")
    assert pulled(service, file, "T1").steps == (Step.DELTA, Step.RECONCILE)
    assert rows_in(file) == service.publications.view(["T1"])


def test_a_history_that_was_lost_costs_the_difference_even_in_the_middle_of_an_answer(
    tmp_path: Path, file: Path
) -> None:
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


def test_a_service_without_reconcile_still_heals_the_device(service: Served, file: Path) -> None:
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
def test_failures_that_pass_are_waited_for_as_long_as_the_service_asks(
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
        line.answer = lambda _, headers=headers, body=body: httpx.Response(200, headers=headers, text=body)  # type: ignore[misc]
        with (
            pytest.raises(Exception, match=r"answer|header|body|page"),
            device(service, file, "T1", line=line) as (client, _),
        ):
            client.sync(patience_seconds=0)
        assert len(line.requests) == 1
        assert rows_in(file) == before


def test_a_service_whose_digest_cannot_be_reached_is_not_believed(service: Served, file: Path) -> None:
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


def test_two_processes_on_one_file_do_not_mix_their_answers(service: Served, file: Path) -> None:
    line = Line()

    def overtaken(request: httpx.Request) -> httpx.Response | None:
        line.answer = lambda _: None
        pulled(service, file, "T1")
        return None

    line.answer = overtaken
    with pytest.raises(ConcurrentUseError):
        pulled(service, file, "T1", line=line)
    assert rows_in(file) == service.publications.view(["T1"])


def test_pull_tells_how_it_ended_by_its_exit_code(service: Served, file: Path) -> None:
    def pull(token: str, *options: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "delta_client", "pull", "--db", str(file), "--url", service.url, *options]
        environment = os.environ | {"DELTA_TOKEN": token}
        return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False, env=environment)

    done = pull(bearer("T1"), "--territory", "T1")
    count = sum(map(len, service.publications.view(["T1"]).values()))
    assert (done.returncode, done.stdout) == (0, f"{count} rows, proven equal; {count} operations by delta\n")
    assert pull("nonsense").returncode == 3
    assert rows_in(file) == service.publications.view(["T1"])
    revoked = pull(bearer("T2"), "--territory", "T1")
    assert (revoked.returncode, rows_in(file)) == (4, {})
    assert "Traceback" not in done.stderr + revoked.stderr
