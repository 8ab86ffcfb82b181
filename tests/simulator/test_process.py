from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.ports import free_port
from tests.simulator.conftest import ENDPOINT, TOKEN, query_body

pytestmark = pytest.mark.processes

ENVELOPE = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>'
    + TOKEN.format(password="another")
    + f"</s:Header><s:Body>{query_body('Account')}</s:Body></s:Envelope>"
)


def start(port: int) -> subprocess.Popen[str]:
    words = ["--port", str(port), "--accounts", "30", "--territories", "3", "--seed", "1", "--min-interval-ms", "0"]
    words += ["--books", "3"]
    return subprocess.Popen(
        [sys.executable, "-m", "crm_simulator", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CRMOD_PASSWORD": "another", "CRMOD_USERNAME": "DEMO/INTEGRATION"},
    )


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def address(port: int) -> Iterator[str]:
    process = start(port)
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"(http://\S+)/Services/Integration", line)
    assert match, process.stderr and process.stderr.read()
    yield match[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0


def test_the_process_prints_its_address_and_answers_there(address: str) -> None:
    assert httpx.get(address + "/control").status_code == 200
    answer = httpx.post(address + ENDPOINT, content=ENVELOPE)
    assert answer.status_code == 200
    assert answer.text.count("<Account>") == 10
    assert len(httpx.get(address + "/control/records/Book").json()) == 4


def test_a_connection_can_be_dropped_in_the_middle_of_an_answer(address: str) -> None:
    httpx.post(address + "/control/faults", json={"kind": "reset"}).raise_for_status()
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(address + ENDPOINT, content=ENVELOPE)
    assert httpx.post(address + ENDPOINT, content=ENVELOPE).status_code == 200


def test_a_second_process_on_the_same_port_fails(address: str, port: int) -> None:
    second = start(port)
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 1
    assert "cannot listen" in errors
