"""``python -m delta_service`` as a process, with real tokens over a real socket."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest

from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, WORLDS, publish
from tests.delta_service.model import IDENTITY
from tests.delta_service.processes import COMMAND, environment, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.processes
PATIENCE_SECONDS = 20


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

            def first_is_served() -> bool:
                return all(client.get(path, headers=bearer).status_code == 200 for path in ("/readyz", "/v1/delta"))

            wait_until(first_is_served, PATIENCE_SECONDS, "the first publication is served")
            first = client.get("/v1/delta", headers=bearer)
            assert first.headers["sync-counts"] == "account=3, contact=0, order=0"
            publish(writer, WORLDS)

            def caught_up() -> bool:
                answer = client.get("/v1/delta", headers=bearer, params={"since": first.headers["sync-cursor"]})
                return answer.headers["sync-counts"] == "account=1, contact=1, order=0"

            wait_until(caught_up, PATIENCE_SECONDS, "the next publications are served")
        with client.stream("GET", "/v1/delta", headers=bearer | {"Accept": "application/x-ndjson"}) as stream:
            assert list(stream.iter_lines())[-1].startswith('{"trailer":')
        with client.stream("GET", "/v1/events", headers=bearer) as stream:
            assert "event: publication" in itertools.islice(stream.iter_lines(), 4)

        def nobody_waits() -> bool:
            return "delta_waiting 0.0" in client.get("/metrics").text

        wait_until(nobody_waits, PATIENCE_SECONDS, "a stream whose reader is gone has ended")
        assert client.get("/v1/delta").status_code == 401
        assert "delta_requests_total" in client.get("/metrics").text
    log = (tmp_path / "service.log").read_text()
    assert "delivered scope=T-NORTH from=- to=1" in log
    assert "Traceback" not in log
    assert bearer["Authorization"] not in log


def test_insecure_development_mode_binds_to_this_machine_only(tmp_path: Path) -> None:
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


def test_log_lines_are_json_if_configured(tmp_path: Path) -> None:
    with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        publish(writer, WORLDS)
    with serving(tmp_path, "--insecure-dev", secret=None, DELTA_LOG_FORMAT="json") as client:
        client.get("/v1/delta")
    lines = [json.loads(line) for line in (tmp_path / "service.log").read_text().splitlines() if line.startswith("{")]
    delivered = next(line for line in lines if line["logger"] == "delta_service.audit")
    assert delivered["level"] == "info"
    assert delivered["message"].startswith("delivered scope=* from=- to=4")
