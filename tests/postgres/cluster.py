"""Temporary PostgreSQL servers: each in its own folder, reached by a Unix socket there, removed when the tests end."""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

DEBIAN_PROGRAMS = "usr/lib/postgresql/*/bin"
SETTINGS = {"listen_addresses": "''", "fsync": "off", "max_connections": "100", "hot_standby": "on", "jit": "off"}
NUMBERS = itertools.count(1)


def programs() -> Path | None:
    """The folder of ``initdb`` and the other programs of the newest version installed."""
    found = sorted(Path("/").glob(DEBIAN_PROGRAMS), key=lambda path: int(path.parent.name))
    if found:
        return found[-1]
    beside = shutil.which("initdb")
    return Path(beside).parent if beside else None


def require_postgres() -> Path:
    """Skips the test, with a warning that is always shown, where PostgreSQL is not installed."""
    found = programs()
    if found is None:
        _warn_once()
        pytest.skip("PostgreSQL is not installed")
    return found


@cache
def _warn_once() -> None:
    warnings.warn("NOT TESTED on PostgreSQL: it is not installed (apt-get install postgresql)", stacklevel=1)


class Cluster:
    """A server. PostgreSQL refuses to run as root; then it runs as ``postgres``, which Debian's package creates."""

    def __init__(self, copy_of: Cluster | None = None) -> None:
        self.programs = require_postgres()
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = pwd.getpwnam("postgres").pw_name if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        self.data = self.folder / "data"
        if copy_of is None:
            self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", self.data)
        else:
            # It follows the original by streaming replication.
            source = ("-h", copy_of.folder, "-U", "postgres")
            self._run(
                "pg_basebackup", *source, "-D", self.data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"
            )
        atexit.register(self.destroy)
        self.start()

    def url(self, search_path: str = "public") -> str:
        options = quote(f"-csearch_path={search_path}")
        return f"postgresql://postgres@/postgres?host={quote(str(self.folder), safe='')}&options={options}"

    def new_store(self) -> str:
        """The URL of an empty schema."""
        name = f"store_{os.getpid()}_{next(NUMBERS)}"
        self.sql(f"CREATE SCHEMA {name}")
        return self.url(name)

    def sql(self, text: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        options = " ".join(
            f"-c {name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": self.folder}.items()
        )
        self._run("pg_ctl", "start", "--wait", "-D", self.data, "-l", self.folder / "server.log", "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        """``immediate`` is like a crash: recovery follows at the next start."""
        self._run("pg_ctl", "stop", "--wait", "-D", self.data, "-m", mode)

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "--wait", "-D", self.data)

    def destroy(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.destroy)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, user=self._user, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr.decode(errors='replace')}"


@cache
def shared_cluster() -> Cluster:
    """One server for all tests that do not stop or damage it."""
    return Cluster()


def new_location(engine: str, home: Path) -> Path | str:
    """The location of an empty store on ``sqlite`` (in ``home``) or ``postgres``."""
    if engine == "sqlite":
        return home / "delta.sqlite"
    require_postgres()
    return shared_cluster().new_store()
