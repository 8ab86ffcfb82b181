"""The shipped nginx configuration in front of real service processes: it shares answers and never mixes scopes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, WORLDS, publish, token
from tests.delta_service.model import IDENTITY
from tests.delta_service.processes import COMMAND, environment
from tests.ports import free_port
from tests.waiting import wait_until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx"
NORTH, SOUTH = "/v1/territories/T-NORTH/delta", "/v1/territories/T-SOUTH/delta"

pytestmark = [pytest.mark.processes, pytest.mark.skipif(NGINX is None, reason="SKIPPED LOUDLY: nginx is not installed")]
PATIENCE_SECONDS = 20


class Replica:
    """One process of the service, which can be stopped and started again."""

    def __init__(self, home: Path, port: int) -> None:
        self._home, self._port = home, port
        self.start()

    def start(self) -> None:
        with (self._home / f"{self._port}.log").open("ab") as log:
            arguments = [*COMMAND, "--port", str(self._port)]
            self.process = subprocess.Popen(arguments, env=environment(self._home), stdout=log, stderr=log)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/readyz").status_code == 200
        except httpx.TransportError:
            return False


class Site:
    """nginx, two replicas of the service behind it, and their store."""

    def __init__(self, home: Path, http: httpx.Client, writer: DeltaStoreWriter, replicas: list[Replica]) -> None:
        self.home = home
        self.http, self.writer, self.replicas = http, writer, replicas

    def get(self, path: str, bearer: str | None, headers: dict[str, str] | None = None) -> httpx.Response:
        credentials = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        return self.http.get(path, headers=credentials | (headers or {}))

    def publish(self, count: int) -> None:
        publish(self.writer, WORLDS[: count + 1])


def shipped_configuration(home: Path, port: int, replica_ports: list[int]) -> Path:
    """The shipped files with this test's ports and folders, included by a minimal nginx.conf."""
    names = ("territory-delta.conf", "upstream.conf")
    text = "".join((SHIPPED / name).read_text() for name in names)
    changes = {"listen 8000;": f"listen 127.0.0.1:{port};", "/var/cache/nginx/": f"{home}/cache/"}
    changes["/var/log/nginx/"] = f"{home}/"
    # Both replicas that the units start.
    changes |= {f"127.0.0.1:{8081 + number}": f"127.0.0.1:{replica}" for number, replica in enumerate(replica_ports)}
    for old, new in changes.items():
        assert old in text, f"the shipped configuration has no {old!r} any more"
        text = text.replace(old, new)
    (home / "cache").mkdir()
    (home / "site.conf").write_text(text)
    temporary = "".join(
        f"{name}_temp_path {home}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    main = home / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""
    main.write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{\n{temporary}include {home}/site.conf;\n}}\n"
    )
    return main


@contextmanager
def process(arguments: list[str], home: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    with (home / log).open("wb") as out:
        running = subprocess.Popen(arguments, env=environment(home), stdout=out, stderr=out)
        try:
            yield running
        finally:
            running.terminate()
            running.wait(20)


@contextmanager
def running_site(home: Path) -> Iterator[Site]:
    ports = [free_port(), free_port()]
    front = free_port()
    with ExitStack() as stack:
        writer = stack.enter_context(DeltaStoreWriter(home / "delta.sqlite"))
        writer.initialise(IDENTITY)
        writer.set_territories(NAMES)
        publish(writer, WORLDS[:3])
        replicas = [Replica(home, port) for port in ports]
        for replica in replicas:
            stack.callback(replica.end)
        assert NGINX is not None
        main = shipped_configuration(home, front, ports)
        stack.enter_context(process([NGINX, "-p", str(home), "-c", str(main)], home, "nginx.log"))
        http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{front}", timeout=20))

        def ready() -> bool:
            try:
                return all(replica.ready() for replica in replicas) and http.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(ready, PATIENCE_SECONDS, f"nginx and the service are up: {(home / 'nginx.log').read_text()}")
        yield Site(home, http, writer, replicas)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def unchanged_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For tests that neither publish nor stop anything, and do not rely on what is in the cache before."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


def test_devices_of_a_territory_share_one_cached_answer(unchanged_site: Site) -> None:
    site, ours, theirs = unchanged_site, token(["T-NORTH"], sub="one"), token(["North", "T-SOUTH"], sub="two")
    # No other test makes this request.
    path = f"{NORTH}?limit=4321"
    first = site.get(path, ours)
    second = site.get(path, theirs)
    assert (first.status_code, first.headers["sync-cache"]) == (200, "MISS")
    assert (second.status_code, second.headers["sync-cache"]) == (200, "HIT")
    assert second.content == first.content
    assert second.headers["sync-cursor"] == first.headers["sync-cursor"]
    # Answers in other codings are cached separately.
    for coding in ("gzip", "zstd", "identity"):
        answer = site.get(path, ours, {"Accept-Encoding": coding})
        assert answer.headers["sync-cache"] == "MISS"
        assert answer.json() == first.json()
    lines = site.get(path, ours, {"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert site.get(path, ours, {"If-None-Match": first.headers["etag"]}).status_code == 304


def test_no_request_gets_a_caller_what_only_another_may_see(unchanged_site: Site) -> None:
    site, north, south = unchanged_site, token(["T-NORTH"]), token(["T-SOUTH"])
    expired, forged = token(["T-NORTH"], exp=int(time.time()) - 3600), token(["T-NORTH"], secret=b"x" * 40)
    cursor = site.get(NORTH, north).headers["sync-cursor"]
    addresses = [
        NORTH,
        f"{NORTH}?since={cursor}",
        "/v1/territories/North/delta",
        "/v1/territories/T%2DNORTH/delta",
        "/v1/territories//T-NORTH/delta",
        "/v1/territories/T-SOUTH/../T-NORTH/delta",
        "/v1/territories/T-NORTH/./delta",
        "/v1/territories/T-SOUTH%2F..%2FT-NORTH/delta",
        f"{NORTH}?wait=0",
    ]
    for path in addresses:
        # After a caller with access has filled the cache.
        allowed = site.get(path, north)
        for bearer, refusals in ((south, {403, 404}), (expired, {401}), (forged, {401}), (None, {401})):
            answer = site.get(path, bearer)
            assert answer.status_code in refusals | ({404} if allowed.status_code == 404 else set()), (
                path,
                answer.text,
            )
            assert "A1" not in answer.text
    # Requests for different territories get different answers, in any order.
    for path, bearer in ((SOUTH, south), (NORTH, north), (SOUTH, south), (NORTH, north)):
        rows = {row["accountId"] for row in site.get(path, bearer).json()["account"]["insert"]}
        assert rows == ({"A1", "A2"} if path == NORTH else {"A3"})
    # Answers for all territories of a token are not shared.
    for bearer, expected in ((north, {"A1", "A2"}), (south, {"A3"})):
        answer = site.get("/v1/delta", bearer)
        assert {row["accountId"] for row in answer.json()["account"]["insert"]} == expected
        assert "sync-cache" not in answer.headers
    # Clients can neither send a grant of their own nor request one.
    assert site.get(NORTH, south, {"Sync-Grant": "T-NORTH", "X-Original-URI": NORTH}).status_code == 403
    assert site.get("/cache/grant", north, {"X-Original-URI": NORTH}).status_code == 404


def test_the_next_publication_soon_replaces_a_cached_answer(site: Site) -> None:
    bearer = token(["T-NORTH"])
    since = site.get(NORTH, bearer).headers["sync-cursor"]
    assert site.get(f"{NORTH}?since={since}", bearer).json()["account"]["deleted"] == []
    woken: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: woken.append(site.get(f"{NORTH}?since={since}&wait=15", bearer)))
    waiter.start()
    site.publish(4)
    waiter.join(20)
    assert woken[0].json()["account"]["deleted"] == [{"rowId": "A2"}]

    def told() -> bool:
        deleted: object = site.get(f"{NORTH}?since={since}", bearer).json()["account"]["deleted"]
        return deleted == [{"rowId": "A2"}]

    wait_until(told, PATIENCE_SECONDS, "the publication has come through the cache")


def test_no_device_notices_a_killed_replica(site: Site) -> None:
    bearer = token(["T-NORTH"])
    since = site.get(NORTH, bearer).headers["sync-cursor"]
    site.replicas[0].end(signal.SIGKILL)
    for number in range(40):
        # A different limit makes each a request that is not in the cache.
        answer = site.get(f"{NORTH}?since={since}&limit={number + 1}", bearer)
        assert answer.status_code == 200, answer.text
        assert site.get("/v1/delta", bearer).status_code == 200


def test_no_device_notices_a_rolling_restart(site: Site) -> None:
    bearer = token(["T-NORTH"])
    since = site.get(NORTH, bearer).headers["sync-cursor"]
    restarted, failures, statuses = threading.Event(), list[str](), list[int]()

    def device(number: int) -> None:
        with httpx.Client(base_url=site.http.base_url, timeout=70) as http:
            client = Site(site.home, http, site.writer, [])
            limit = 1
            while not restarted.is_set():
                limit += 1
                try:
                    # Half of the devices poll with requests that are not in the cache, the others wait for a change.
                    question = f"wait=8&limit={number}" if number % 2 else f"limit={1000 * number + limit}"
                    since_now = cursor_now if number % 2 else since
                    answer = client.get(f"{NORTH}?since={since_now}&{question}", bearer)
                    statuses.append(answer.status_code)
                    if answer.status_code != 200:
                        failures.append(answer.text)
                except httpx.TransportError as error:
                    failures.append(repr(error))

    site.publish(4)
    wait_until(
        lambda: site.get(f"{NORTH}?since={since}", bearer).json()["account"]["deleted"],
        PATIENCE_SECONDS,
        "the publication is served",
    )
    cursor_now = site.get(f"{NORTH}?since={since}&limit=999", bearer).headers["sync-cursor"]
    devices = [threading.Thread(target=device, args=(number,)) for number in range(8)]
    for thread in devices:
        thread.start()
    for replica in site.replicas * 2:
        begun = time.monotonic()
        replica.end()
        # Waiting requests are answered, so that stopping does not take long.
        assert time.monotonic() - begun < 10
        replica.start()
        wait_until(replica.ready, PATIENCE_SECONDS, "the replica is back")
    restarted.set()
    for thread in devices:
        thread.join(40)
    assert failures == []
    assert len(statuses) > 100


def test_the_audit_log_of_the_cache_contains_territories_but_no_cursor_or_token(site: Site) -> None:
    bearer = token(["T-NORTH"])
    since = site.get(NORTH, bearer).headers["sync-cursor"]
    site.get(f"{NORTH}?since={since}", bearer)
    log = site.home / "territory-delta-audit.log"
    wait_until(
        lambda: log.exists() and log.read_text().count("\n") == 2,
        PATIENCE_SECONDS,
        "both requests are in the audit log",
    )
    text = log.read_text()
    assert re.search(r'"territory":"T-NORTH","status":200', text)
    assert since not in text
    assert bearer not in text
