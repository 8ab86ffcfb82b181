"""The reference client against the real service: after any interruption it ends with exactly the oracle's rows."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import httpx
import pytest

from delta_client.connection import UnreachableError
from delta_client.database import ConcurrentUseError, Database
from delta_client.device import Step
from tests.clients.conftest import Served, bearer
from tests.clients.devices import Line, device, pulled, rows_in
from tests.clients.publications import NOTICE_SECONDS
from tests.waiting import wait_until

CRASHES = int(os.environ.get("DELTA_CLIENT_CRASHES", "10"))
T1 = "/v1/territories/T1"

pytestmark = pytest.mark.processes


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


def test_a_changed_scope_takes_one_ordinary_delta(service: Served, file: Path) -> None:
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


def test_an_interrupted_first_sync_resumes_at_the_next_page_of_the_same_publication(
    service: Served, file: Path
) -> None:
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


def test_after_a_page_expired_the_device_starts_again_from_its_cursor(service: Served, file: Path) -> None:
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
    wait_until(lambda: page_is_gone(service, file), NOTICE_SECONDS, "the page is gone")
    assert pulled(service, file, "T1").steps == (Step.DELTA,)
    assert rows_in(file) == service.publications.view(["T1"])


def page_is_gone(service: Served, file: Path) -> bool:
    with Database(file) as database:
        page = database.state.next_page
    assert page is not None
    return service.http.get(page, headers={"Authorization": f"Bearer {bearer('T1')}"}).status_code == 410


@pytest.mark.parametrize("territories", [("T1",), ("T1", "T2")])
def test_a_partly_received_answer_of_another_route_or_token_is_discarded(
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
    """``DELTA_CLIENT_CRASHES`` sets how often: 120 crashes stand for two a minute during an hour."""
    chance = random.Random(5)
    staged_at_death = 0
    for crash in range(CRASHES):
        process = subprocess.Popen(command(service, file, "--follow"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if crash % 2:
            # It is killed between two publications or while it waits.
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(chance.randrange(4)):
                service.publications.step()
        else:
            # It is killed in the middle of an answer.
            service.publications.realign("T1", "T3", 0.5)
            service.publications.realign("T3", "T1", 1)
            wait_for_changes(process, file, chance.randrange(1, 30))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr and process.stderr.read()
        with Database(file) as database:
            staged_at_death += database.staged_count > 0
    service.publications.await_served(service.http)
    done = subprocess.run(command(service, file), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # It may have finished an older answer first.
    if b" by delta\n" in done.stdout:
        subprocess.run(command(service, file), capture_output=True, timeout=60, check=True)
    assert rows_in(file) == service.publications.view(["T1", "T2"])
    assert staged_at_death, "no kill happened while a page was staged, so the test proves nothing"


def wait_for_changes(process: subprocess.Popen[bytes], file: Path, count: int) -> None:
    wait_until(
        lambda: process.poll() is not None or changes_in(file) >= count, NOTICE_SECONDS, "the device applies an answer"
    )


def changes_in(file: Path) -> int:
    """The number of rows, staged and applied; it grows with each page that the device receives."""
    if not file.exists():
        return 0
    try:
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
        ((staged,),) = connection.execute("SELECT count(*) FROM staged")
        ((rows,),) = connection.execute("SELECT count(*) FROM row")
    except apsw.Error:
        return 0
    return int(staged + rows)


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


def test_the_exit_code_of_pull_says_how_it_ended(service: Served, file: Path) -> None:
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
