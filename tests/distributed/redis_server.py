"""A throw-away Redis, as Debian's package has it: in a folder of its own, gone when the tests end."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

import pytest
import redis

from tests.ports import free_port
from tests.waiting import wait_until

PROGRAM = shutil.which("redis-server")


def require_redis() -> str:
    """Skips the test, with a warning that is always shown, where Redis is not installed."""
    if PROGRAM is None:
        _warn_once()
        pytest.skip("Redis is not installed")
    return PROGRAM


@cache
def _warn_once() -> None:
    warnings.warn("NOT TESTED with Celery workers: Redis is not installed (apt-get install redis-server)", stacklevel=1)


class RedisServer:
    """Remembers on disk, as a broker should, so that a restart forgets no task."""

    def __init__(self) -> None:
        program = require_redis()
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.port = free_port()
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self._command += ["--appendonly", "yes", "--save", "", "--logfile", str(self.folder / "server.log")]
        atexit.register(self.destroy)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 30, "Redis is up")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def destroy(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.destroy)

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False
