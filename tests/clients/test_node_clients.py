"""WatermelonDB and RxDB with the adapters of docs/clients, against the real service: they hold the oracle's rows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from delta_client.digest import version_of
from tests.clients.conftest import Served, bearer, served
from tests.clients.publications import NOTICE_SECONDS
from tests.e2e.system import PROJECT
from tests.waiting import wait_until

CLIENTS = PROJECT / "docs/clients"
DRIVERS = Path(__file__).parent / "drivers"
NODE, NPM = shutil.which("node"), shutil.which("npm")
# Before a release: 200.
PUBLICATIONS = int(os.environ.get("DELTA_CLIENT_PUBLICATIONS", "60"))
SCOPE = ("T1", "T2")
T1 = "/v1/territories/T1"

if NODE is None or NPM is None:
    warnings.warn("node and npm are not installed: WatermelonDB and RxDB are NOT tested", stacklevel=1)
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(NODE is None or NPM is None, reason="node and npm are not installed"),
]


class Driver:
    """A Node process with one client library in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, command: str, argument: object = None) -> Any:
        """Raises AssertionError if the library reported any problem."""
        answer, complaints = self.ask(command, argument)
        assert complaints == []
        return answer

    def ask(self, command: str, argument: object = None) -> tuple[Any, list[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, "argument": argument}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the driver has ended; its output is above"
        document = json.loads(line)
        return document.get("answer"), document["complaints"]


def installed(name: str, factory: pytest.TempPathFactory) -> Path:
    """A folder with the library installed as its lock file says, the adapter, and our driver."""
    folder = factory.mktemp("clients") / name
    shutil.copytree(CLIENTS / name, folder)
    shutil.copy(CLIENTS / "delta-api.mjs", folder.parent)
    # The driver is in the adapter's folder, so that both find the same packages.
    (folder / "delta-api.mjs").write_text('export * from "../delta-api.mjs";\n')
    shutil.copy(DRIVERS / "serve.mjs", folder)
    shutil.copy(DRIVERS / f"{name}.mjs", folder / "driver.mjs")
    command = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def watermelondb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("watermelondb", tmp_path_factory)


@pytest.fixture(scope="module")
def rxdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("rxdb", tmp_path_factory)


@contextmanager
def driving(folder: Path, service: Served, token: str, route: str = "/v1", **variables: str) -> Iterator[Driver]:
    environment = os.environ | {"URL": service.url, "ROUTE": route, "TOKEN": token} | variables
    process = subprocess.Popen(
        [str(NODE), "driver.mjs"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Driver(process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, seed=11, accounts=100) as running:
        yield running


def rows_of(answer: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {(name, row[f"{name}Id"]): row for name, rows in answer.items() for row in rows}
    assert len(found) == sum(map(len, answer.values()))
    return found


def expected(service: Served, *territories: str, versions: bool = False) -> dict[tuple[str, str], dict[str, Any]]:
    view = service.publications.world.view(territories)
    return {row: json.loads(body) | ({"_v": version_of(body)} if versions else {}) for row, body in view.items()}


def test_watermelondb_holds_the_exact_rows_after_each_random_publication(watermelondb: Path, service: Served) -> None:
    with driving(watermelondb, service, bearer(*SCOPE)) as client:
        for publication in range(PUBLICATIONS):
            client("sync")
            if publication % 10 == 0:
                assert rows_of(client("rows")) == expected(service, *SCOPE)
            if publication % 20 == 0:
                service.publications.realign("T1", "T3", 0.3)
            service.step()
        client("sync")
        assert rows_of(client("rows")) == expected(service, *SCOPE)


def test_watermelondb_survives_a_lapse_a_lost_pull_another_scope_and_a_revocation(
    watermelondb: Path, service: Served
) -> None:
    with driving(watermelondb, service, bearer("T1", "T2"), route=T1) as client:
        client("sync")
        service.step(5)
        client("lostSync")
        service.step(5)
        client("sync")
        assert rows_of(client("rows")) == expected(service, "T1")
        service.step(20)
        lapse(service)
        client("sync")
        assert rows_of(client("rows")) == expected(service, "T1")
        client("token", bearer("T2"))
        client("sync")
        assert client("rows") == {"account": [], "contact": [], "order": []}
        client("token", bearer("T1"))
        client("sync")
        assert rows_of(client("rows")) == expected(service, "T1")
    with driving(watermelondb, service, bearer("T1")) as client:
        for scope in (("T1", "T2"), ("T3",), ("T2", "T3")):
            client("token", bearer(*scope))
            client("sync")
            assert rows_of(client("rows")) == expected(service, *scope)


def lapse(service: Served) -> None:
    """Forget all history, and wait until the service has noticed."""
    service.publications.lapse()
    header = {"Authorization": f"Bearer {bearer('T1')}"}
    wait_until(
        lambda: service.http.get("/v1/delta?since=1", headers=header).status_code == 410,
        NOTICE_SECONDS,
        "the history is forgotten",
    )


@pytest.mark.parametrize("batch_size", ["7", "1000"])
def test_rxdb_follows_random_publications_by_server_sent_events(rxdb: Path, service: Served, batch_size: str) -> None:
    with driving(rxdb, service, bearer(*SCOPE), BATCH_SIZE=batch_size) as client:
        client("start")
        for publication in range(PUBLICATIONS):
            if publication % 10 == 0:
                assert_follows(client, service, *SCOPE)
            if publication % 20 == 0:
                service.publications.realign("T1", "T3", 0.3)
            service.publications.step()
        assert_follows(client, service, *SCOPE)


def assert_follows(client: Driver, service: Served, *territories: str) -> None:
    """The client gets the rows without being told to sync."""
    wanted = expected(service, *territories, versions=True)
    wait_until(lambda: rows_of(client("rows")) == wanted, NOTICE_SECONDS, "RxDB has the oracle's rows")


def test_rxdb_survives_a_lapse_and_a_revocation(rxdb: Path, service: Served) -> None:
    with driving(rxdb, service, bearer("T1", "T2"), route=T1, BATCH_SIZE="7") as client:
        client("start")
        assert_follows(client, service, "T1")
        client("stop")
        service.step(20)
        lapse(service)
        client("start")
        assert_follows(client, service, "T1")
        client("token", bearer("T2"))
        client("stop")
        client("start")
        wait_until(lambda: rows_of(client("rows")) == {}, NOTICE_SECONDS, "RxDB is wiped")
        client("token", bearer("T1"))
        client("stop")
        client("start")
        assert_follows(client, service, "T1")


def test_rxdb_keeps_no_row_of_pages_that_could_not_be_completed(rxdb: Path, service: Served) -> None:
    with driving(rxdb, service, bearer("T1"), BATCH_SIZE="7") as client:
        client("startWithHeldPages")
        wait_until(lambda: client("heldPages") == 3, NOTICE_SECONDS, "the second pages are requested")
        # Rows of the first pages are there, and have to be removed although no delta deletes them.
        assert rows_of(client("rows"))
        service.publications.realign("T1", "T3", 0.9)
        service.publications.await_served(service.http)
        client("expirePages")
        assert_follows(client, service, "T1")


def test_rxdb_follows_a_token_whose_territories_change(rxdb: Path, service: Served) -> None:
    with driving(rxdb, service, bearer("T1"), BATCH_SIZE="1000") as client:
        client("start")
        for scope in (("T1", "T2"), ("T2", "T3"), ("T3",), ("T1",)):
            client("stop")
            client("token", bearer(*scope))
            client("start")
            assert_follows(client, service, *scope)
