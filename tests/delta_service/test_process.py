"""The real thing: ``python -m delta_service`` with real tokens over a real socket."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, SECRET, WORLDS, publish
from tests.delta_service.model import IDENTITY
from tests.ports import free_port

COMMAND = [sys.executable, "-m", "delta_service"]


def environment(home: Path, secret: bytes | None = SECRET) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DELTA_", "PROMETHEUS_"))}
    return kept | {"DELTA_HOME": str(home)} | ({"DELTA_JWT_SECRET": secret.decode()} if secret else {})


def wait_until(condition, what: str) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.05)


@contextmanager
def serving(home: Path, *options: str, secret: bytes | None = SECRET, **variables: str) -> Iterator[httpx.Client]:
    port = free_port()
    log = (home / "service.log").open("wb")
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port), *options], env=environment(home, secret) | variables, stdout=log, stderr=log
    )

    def alive() -> bool:
        assert process.poll() is None, (home / "service.log").read_text()
        try:
            return client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            wait_until(alive, "the service")
            yield client
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def mint(home: Path, *options: str) -> str:
    done = subprocess.run([*COMMAND, "token", *options], env=environment(home), capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_a_device_syncs_with_a_minted_token_while_publications_arrive(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as client:
        bearer = {"Authorization": f"Bearer {mint(tmp_path, '--territory', 'North', '--days', '1')}"}
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/delta", headers=bearer).json()["code"] == "starting"
        with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
            writer.initialise(IDENTITY)
            writer.set_territories(NAMES)
            publish(writer, WORLDS[:2])
            wait_until(lambda: client.get("/readyz").status_code == 200, "the first publication")
            wait_until(lambda: client.get("/v1/delta", headers=bearer).status_code == 200, "the first publication")
            first = client.get("/v1/delta", headers=bearer)
            assert first.headers["sync-counts"] == "account=3, contact=0, order=0"
            publish(writer, WORLDS)

            def caught_up() -> bool:
                answer = client.get("/v1/delta", headers=bearer, params={"since": first.headers["sync-cursor"]})
                return answer.headers["sync-counts"] == "account=1, contact=1, order=0"

            wait_until(caught_up, "the next publications")
        with client.stream("GET", "/v1/delta", headers=bearer | {"Accept": "application/x-ndjson"}) as stream:
            assert list(stream.iter_lines())[-1].startswith('{"trailer":')
        with client.stream("GET", "/v1/events", headers=bearer) as stream:
            assert "event: publication" in itertools.islice(stream.iter_lines(), 4)

        def nobody_waits() -> bool:
            return "delta_waiting 0.0" in client.get("/metrics").text

        wait_until(nobody_waits, "the end of a stream whose reader has gone")
        assert client.get("/v1/delta").status_code == 401
        assert "delta_requests_total" in client.get("/metrics").text
    log = (tmp_path / "service.log").read_text()
    assert "delivered scope=T-NORTH from=- to=1" in log
    assert "Traceback" not in log
    assert bearer["Authorization"] not in log


def test_insecure_development_binds_to_this_machine_only(tmp_path: Path) -> None:
    for options in ((), ("--insecure-dev", "--host", "0.0.0.0")):
        done = subprocess.run(
            [*COMMAND, *options], env=environment(tmp_path, secret=None), capture_output=True, timeout=20, check=False
        )
        assert done.returncode == 2, options
        assert b"Traceback" not in done.stderr
    with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        publish(writer, WORLDS)
    with serving(tmp_path, "--insecure-dev", secret=None) as client:
        assert client.get("/v1/delta").headers["sync-counts"] == "account=2, contact=1, order=0"


def test_log_lines_are_json_where_a_collector_wants_them(tmp_path: Path) -> None:
    with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        publish(writer, WORLDS)
    with serving(tmp_path, "--insecure-dev", secret=None, DELTA_LOG_FORMAT="json") as client:
        client.get("/v1/delta")
    lines = [json.loads(line) for line in (tmp_path / "service.log").read_text().splitlines() if line.startswith("{")]
    delivered = next(line for line in lines if line["logger"] == "delta_service.audit")
    assert delivered["level"] == "info"
    assert delivered["message"].startswith("delivered scope=* from=- to=4")
