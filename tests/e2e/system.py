"""The real processes: simulator, Dagster jobs, delta service; started on free ports, ended by process group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt

from delta_service.store.engine import location_of
from delta_service.store.reader import DeltaStoreReader
from tests.e2e.job_process import JobProcess
from tests.ports import free_port
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SECRET = "an-end-to-end-test-secret-of-enough-bytes"
AUDIENCE = "territory-delta"
JOB_SECONDS = 300
"""No job takes longer."""


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class System:
    """One CRM, one pipeline home, one delta service."""

    home: Path
    crm_port: int = field(default_factory=free_port)
    service_port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    secret: str = SECRET

    def __post_init__(self) -> None:
        self.environment = {
            **os.environ,
            "DELTA_HOME": str(self.home),
            "CRMOD_URL": f"http://127.0.0.1:{self.crm_port}/Services/Integration",
            "CRMOD_USERNAME": "DEMO/INTEGRATION",
            "CRMOD_PASSWORD": "simulator-only",
            "DELTA_JWT_SECRET": self.secret,
            **self.environment,
        }
        self.environment.pop("DAGSTER_HOME", None)
        self.http = httpx.Client(timeout=60)

    @property
    def service(self) -> str:
        return f"http://127.0.0.1:{self.service_port}"

    def start_crm(self, accounts: int, territories: int, seed: int, *options: str) -> None:
        arguments = ["--port", self.crm_port, "--accounts", accounts, "--territories", territories, "--seed", seed]
        self.start_process("crm", [BIN / "python", "-m", "crm_simulator", *arguments, "--min-interval-ms", 0, *options])
        wait_until(lambda: answers(f"http://127.0.0.1:{self.crm_port}/control/summary"), 60, "the simulator is up")

    def start_service(self) -> None:
        arguments = ["--host", "127.0.0.1", "--port", self.service_port]
        self.start_process("service", [BIN / "python", "-m", "delta_service", *arguments])
        wait_until(lambda: answers(f"{self.service}/healthz"), 30, "the service is up")

    def wait_published(self) -> None:
        wait_until(lambda: answers(f"{self.service}/readyz"), 30, "the service is ready")

    def wait_served(self) -> None:
        """Until the service has noticed the store's newest publication, which it does by itself."""
        store = DeltaStoreReader(location_of(self.environment.get("DELTA_STORE_URL"), self.home / "delta.sqlite"))
        newest = store.state(None).published_seq
        store.close()

        def noticed() -> bool:
            answer = self.http.get(f"{self.service}/readyz")
            return answer.status_code == 200 and answer.json()["publishedSeq"] == newest

        wait_until(noticed, 30, f"publication {newest} is served")

    def kill(self, name: str) -> None:
        """As a crash would: no chance to clean up."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start_job(self, name: str, *options: str) -> JobProcess:
        """``options`` are ``-c FILE``, or none."""
        config_file = Path(options[1]) if options else None
        return JobProcess(name, config_file, self.environment, self.log_of(name))

    def run_job(self, name: str, *options: str, expect_success: bool = True) -> str:
        """Returns what the job printed."""
        self.log_of(name).write_bytes(b"")
        return self._ended(name, self.start_job(name, *options).wait(timeout=JOB_SECONDS), expect_success)

    def run_job_by_command(self, name: str, *options: str, expect_success: bool = True) -> str:
        """As a user types it, in a new process that imports everything; returns what the job printed."""
        # Without a DAGSTER_HOME, Dagster makes a passing one in its working folder, which a killed run leaves behind.
        place = ["-m", "orchestration.definitions", "-d", str(PROJECT)]
        command = [str(BIN / "dagster"), "job", "execute", *place, "-j", name, *options]
        with self.log_of(name).open("wb") as log:
            done = subprocess.run(
                command, cwd=self.home, env=self.environment, stdout=log, stderr=log, timeout=JOB_SECONDS, check=False
            )
        return self._ended(name, done.returncode, expect_success)

    def log_of(self, name: str) -> Path:
        """What a job or server printed."""
        return self.home / f"{name}.log"

    def _ended(self, name: str, code: int, expect_success: bool) -> str:
        printed = self.log_of(name).read_text(errors="replace")
        assert (code == 0) is expect_success, f"job {name} ended with {code}:\n{printed[-6000:]}"
        return printed

    def control(self, path: str, **body: Any) -> Any:
        answer = self.http.post(f"http://127.0.0.1:{self.crm_port}/control/{path}", json=body)
        assert answer.status_code == 200, f"{path} {body}: {answer.status_code} {answer.text}"
        return answer.json()

    def records(self, service: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"http://127.0.0.1:{self.crm_port}/control/records/{service}")
        assert answer.status_code == 200, answer.text
        records: list[dict[str, Any]] = answer.json()
        return records

    def operations(self) -> int:
        """What the CRM has counted so far."""
        answer = self.http.get(f"http://127.0.0.1:{self.crm_port}/control/summary")
        return int(answer.json()["operations"])

    def token(self, *territories: str, **claims: Any) -> str:
        now = int(time.time())
        body = {"aud": AUDIENCE, "iat": now, "nbf": now - 5, "exp": now + 86_400, "sub": "e2e", **claims}
        return jwt.encode({**body, "territories": list(territories)}, self.secret, algorithm="HS256")

    def stop(self) -> None:
        self.http.close()
        for name in list(self.processes):
            self.kill(name)

    def start_process(self, name: str, command: list[Any]) -> None:
        with self.log_of(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(part) for part in command],
                cwd=PROJECT, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip


@contextmanager
def running_system(home: Path, **environment: str) -> Iterator[System]:
    system = System(home, environment=environment)
    try:
        yield system
    finally:
        system.stop()
