"""The three servers that are compared: the delta service, nginx with the same bytes as files, FastAPI on PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.data import CACHE
from benchmarks.serving.processes import SERVER_CORE, Server, free_port, running, wait_until
from benchmarks.serving.store import ServedStore
from benchmarks.serving.tools import command, reference_python
from delta_service.auth import mint
from delta_service.settings import ServiceSettings

SECRET = "a secret for benchmarks, of more than 32 bytes"
HERE = Path(__file__).parent
# As PostgreSQL's documentation has it for a small machine of its own; durability costs readers nothing.
POSTGRESQL_SETTINGS = {"shared_buffers": "512MB", "max_connections": "50", "listen_addresses": "127.0.0.1"}


def token(*territories: str, days: int = 1) -> str:
    return mint(SECRET.encode(), ServiceSettings.jwt_audience, list(territories), days=days, admin=False)


def bearer(*territories: str, days: int = 1) -> dict[str, str]:
    """Of several devices with the same territories, ``days`` makes their tokens differ."""
    return {"Authorization": f"Bearer {token(*territories, days=days)}"}


@contextmanager
def delta_service(store: ServedStore, **environment: str) -> Iterator[Server]:
    """One process, as shipped."""
    port = free_port()
    start = [sys.executable, "-m", "delta_service", "--host", "127.0.0.1", "--port", port]
    environment = {"DELTA_HOME": str(store.home), "DELTA_JWT_SECRET": SECRET, **environment}
    with running(start, port, log=store.home / "service.log", environment=environment) as server:
        wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200, 60, "the delta service is ready")
        yield server


@contextmanager
def nginx(files: Mapping[str, bytes], headers: Sequence[tuple[str, str]] = ()) -> Iterator[Server]:
    """One worker. ``files`` are by path; ``headers`` are added to each answer."""
    folder, port = Path(tempfile.mkdtemp(prefix="nginx-", dir=CACHE)), free_port()
    try:
        folder.chmod(0o755)
        for path, content in files.items():
            file = folder / "files" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        added = "\n        ".join(f"add_header {name} '{value}';" for name, value in headers)
        configuration = (HERE / "nginx.conf").read_text()
        for name, value in (("FOLDER", folder), ("PORT", port), ("HEADERS", added)):
            configuration = configuration.replace(f"@{name}@", str(value))
        (folder / "nginx.conf").write_text(configuration)
        start = [command("nginx"), "-c", folder / "nginx.conf", "-e", folder / "nginx.log"]
        with running(start, port, log=folder / "nginx.log") as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def fastapi_on_postgresql(store: ServedStore) -> Iterator[Server]:
    """The application and its database together on the server's core, loaded with the store's newest views."""
    folder, port, database_port = Path(tempfile.mkdtemp(prefix="postgresql-", dir=CACHE)), free_port(), free_port()
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    try:
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        # PostgreSQL refuses to run as root.
        user = [] if account is None else ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        CACHE.chmod(0o755)
        data = folder / "data"
        initialise = [command("initdb"), "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]
        subprocess.run([*user, *map(str, initialise)], check=True, stdout=subprocess.DEVNULL, cwd="/")
        settings = {**POSTGRESQL_SETTINGS, "port": str(database_port), "unix_socket_directories": str(folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        postgres = [*user, str(Path(command("initdb")).resolve().with_name("postgres")), "-D", str(data), *options]
        environment = {
            "REFERENCE_DATABASE": f"postgresql://postgres@127.0.0.1:{database_port}/postgres",
            "REFERENCE_SECRET": SECRET,
        }
        log = folder / "log"
        with running(postgres, database_port, log=log) as database:
            load = [reference_python(), HERE / "reference_load.py", store.home / "delta.sqlite"]
            subprocess.run(list(map(str, load)), env={**os.environ, **environment}, check=True)
            serve = [reference_python(), "-m", "uvicorn", "reference_app:app", "--app-dir", HERE, "--port", port]
            serve += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
            with running(serve, port, log=log, environment=environment, core=SERVER_CORE) as application:
                yield Server(port, (*application.pids, *database.pids))
    finally:
        shutil.rmtree(folder)
