"""The service as a process: ``python -m delta_service`` over a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.delta_service.conftest import SECRET
from tests.ports import free_port
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "delta_service"]
START_SECONDS = 20


def environment(home: Path, secret: bytes | None = SECRET) -> dict[str, str]:
    """Variables of the process; of the settings of this machine's own service, none."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DELTA_", "PROMETHEUS_"))}
    return kept | {"DELTA_HOME": str(home)} | ({"DELTA_JWT_SECRET": secret.decode()} if secret else {})


@contextmanager
def serving(home: Path, *options: str, secret: bytes | None = SECRET, **variables: str) -> Iterator[httpx.Client]:
    """A client of a running service, whose output is in ``home / "service.log"``."""
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
            wait_until(alive, START_SECONDS, "the service is up")
            yield client
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def address_of(client: httpx.Client) -> tuple[str, int]:
    """For sockets that do not speak through the client."""
    port = client.base_url.port
    assert port is not None
    return client.base_url.host, port
