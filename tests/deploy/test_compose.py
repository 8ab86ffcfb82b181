"""The compose file is accepted by compose, starts existing commands, and keeps tenants apart."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from delta_service.__main__ import argument_parser
from delta_service.server import STOP_SECONDS
from tests.deploy.compose import COMPOSE, ROOT, SERVICES, TENANTS
from tests.postgres.cluster import Cluster, require_postgres

OURS = re.compile(r"\b(?:[A-Z]+_)+[A-Z]+\b")
READ_BY_ENGINES = {
    "POSTGRES_USER": "the postgres image",
    "POSTGRES_DB": "the postgres image",
    "POSTGRES_PASSWORD": "the postgres image",
    "CELERY_BROKER_URL": "celery, and dagster-celery.yaml",
    "CELERY_RESULT_BACKEND": "celery, and dagster-celery.yaml",
    "DAGSTER_GRPC_TIMEOUT_SECONDS": "dagster",
}

PROGRAMS = {name: service for name, service in SERVICES.items() if "territory-delta" in service["image"]}


def deployed(folder: Path) -> Path:
    """A copy as an operator has it, with secrets filled in; returns the folder of compose.yaml."""
    for name in ("deploy/compose", "deploy/nginx"):
        shutil.copytree(ROOT / name, folder / name)
    home = folder / "deploy/compose"
    secrets = home / "secrets"
    secrets.mkdir(exist_ok=True)
    for example in (home / "example").iterdir():
        kind = example.name.removeprefix("tenant.")
        for name in [kind] if kind == example.name else [f"{tenant}.{kind}" for tenant in TENANTS]:
            shutil.copy(example, secrets / name)
    return home


def settings(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def seconds(text: str) -> int:
    assert re.fullmatch(r"\d+s", text)
    return int(text[:-1])


def upstream(tenant: str) -> set[str]:
    return set(re.findall(r"server ([\d.]+:\d+) max_fails=0;", (COMPOSE / f"upstreams/{tenant}.conf").read_text()))


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="no docker-compose: compose.yaml is NOT verified")
def test_compose_accepts_the_file(tmp_path: Path) -> None:
    home = deployed(tmp_path)
    arguments = ["docker-compose", "--file", str(home / "compose.yaml"), "config"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert read.keys() == SERVICES.keys()
    assert read["acme-worker"]["environment"]["TENANT"] == "acme"
    assert read["acme-api-1"]["environment"]["DELTA_STORE_URL"].startswith("postgresql://")
    for service in read.values():
        for volume in service.get("volumes", []):
            source, *_ = volume.split(":")
            # Compose would create a folder in place of a missing file.
            assert not source.startswith("/") or (ROOT / Path(source).relative_to(tmp_path)).is_file(), source


def test_no_file_contains_a_secret_or_names_a_registry() -> None:
    for service in SERVICES.values():
        assert "/" not in service["image"]
        assert not [name for name in service.get("environment", {}) if "PASSWORD" in name or "SECRET" in name]
    for example in (COMPOSE / "example").iterdir():
        for name, value in settings(example).items():
            assert not value or ("PASSWORD" not in name and "SECRET" not in name)
            assert not re.search(r"://\w+:[^@]+@", value), name
    assert (COMPOSE / ".gitignore").read_text().splitlines()[-1] == "secrets/"


def test_each_variable_is_read_by_some_program() -> None:
    code = [*(ROOT / "orchestration").rglob("*.py"), *(ROOT / "delta_service").rglob("*.py")]
    code.append(ROOT / "orchestration/dagster_home/dagster-celery.yaml")
    read = set(OURS.findall("".join(path.read_text() for path in code))) | {"TENANT", *READ_BY_ENGINES}
    set_here = {name for service in SERVICES.values() for name in service.get("environment", {})}
    for example in (COMPOSE / "example").iterdir():
        set_here |= {re.sub("^(STORE|READER)_PASSWORD_[A-Z]+$", "DELTA_STORE_URL", name) for name in settings(example)}
    set_here |= settings(ROOT / "deploy/systemd/environment.example").keys() - {
        "HOME",
        "DAGSTER_HOME",
        "PYTHONUNBUFFERED",
    }
    assert set_here
    assert set_here <= read


def commands() -> Iterator[tuple[str, ...]]:
    for service in PROGRAMS.values():
        yield tuple(service["command"])
        if service["healthcheck"]["test"][1] in {"dagster", "dagster-daemon"}:
            yield tuple(service["healthcheck"]["test"][1:])


COMMANDS = sorted(set(commands()))


@pytest.fixture(scope="module")
def help_shown(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[int, str]]:
    """Exit code and output of each command of an installed program, with ``--help`` added."""
    installed = [command for command in COMMANDS if command[0] != "python"]
    environment = {**os.environ, "TENANT": "acme", "CELERY_BROKER_URL": "memory://", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.command_lines", "orchestration.celery_worker"],
        input=json.dumps([[*command, "--help"] for command in installed]),
        cwd=tmp_path_factory.mktemp("commands"), env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    return {command: (code, output) for command, (code, output) in zip(installed, outcomes, strict=True)}


@pytest.mark.processes
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_line_is_accepted(command: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    if command[:3] == ("python", "-m", "delta_service"):
        assert argument_parser().parse_args(command[3:]).port == 8080
        return
    # Click reads the whole line before it shows the help: an option that it does not know is an error.
    code, output = request.getfixturevalue("help_shown")[command]
    assert code == 0, output
    assert "Usage:" in output


def test_ports_and_paths_match_those_that_are_served() -> None:
    ours = (ROOT / "delta_service/pages.py").read_text()
    code_servers = [("-code", "--port", "4266"), ("webserver", "--port", "3000"), ("-api-1", "--port", "8080")]
    for ending, option, port in code_servers:
        for name in (name for name in PROGRAMS if name.endswith(ending)):
            command = PROGRAMS[name]["command"]
            assert command[command.index(option) + 1] == port
            assert port in " ".join(PROGRAMS[name]["healthcheck"]["test"])
    for name, service in SERVICES.items():
        for path in re.findall(r"http://127\.0\.0\.1:\d+(/\w+)", " ".join(service["healthcheck"]["test"])):
            assert f'Route("{path}"' in ours or path == "/server_info", name
    webserver = importlib.util.find_spec("dagster_webserver.webserver")
    assert webserver is not None
    assert 'Route("/server_info"' in Path(str(webserver.origin)).read_text()
    nginx = (ROOT / "deploy/nginx/territory-delta.conf").read_text()
    assert "listen 8000;" in nginx
    for tenant in TENANTS:
        assert SERVICES[f"{tenant}-front"]["ports"][0].endswith(":8000")
        addresses = {SERVICES[f"{tenant}-api-{n}"]["networks"][tenant]["ipv4_address"] for n in (1, 2)}
        assert upstream(tenant) == {f"{address}:8080" for address in addresses}


def test_the_workspace_lists_each_tenant_under_its_own_name() -> None:
    places = [place["grpc_server"] for place in yaml.safe_load((COMPOSE / "workspace.yaml").read_text())["load_from"]]
    assert {place["location_name"]: (place["host"], place["port"]) for place in places} == {
        tenant: (f"{tenant}-code", 4266) for tenant in TENANTS
    }
    for tenant in TENANTS:
        for name in (f"{tenant}-code", f"{tenant}-worker"):
            assert SERVICES[name]["environment"]["TENANT"] == tenant


def test_tenants_share_no_secret_volume_or_front() -> None:
    owned: dict[str, set[str]] = {}
    for tenant in TENANTS:
        own = [service for name, service in SERVICES.items() if name.startswith(f"{tenant}-")]
        assert len(own) == 5
        files = {path for service in own for path in service.get("env_file", [])} - {"secrets/instance.env"}
        volumes = {mount for service in own for mount in service.get("volumes", []) if not mount.startswith(".")}
        networks = {network for service in own for network in service["networks"]} - {"dagster", "stores"}
        assert networks == {tenant}
        owned[tenant] = files | volumes
        for name in (f"{tenant}-api-1", f"{tenant}-api-2", f"{tenant}-front"):
            # Services that devices can reach have neither the CRM's password nor access to Dagster's database.
            assert set(SERVICES[name].get("env_file", [])) <= {f"secrets/{tenant}.service.env"}
            assert "dagster" not in SERVICES[name]["networks"]
    assert not owned["acme"] & owned["globex"]


def test_stop_timeouts_are_long_enough_and_the_same_in_compose_and_systemd() -> None:
    unit = (ROOT / "deploy/systemd/territory-delta-api@.service").read_text()
    (unit_seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    for tenant in TENANTS:
        for number in (1, 2):
            assert seconds(SERVICES[f"{tenant}-api-{number}"]["stop_grace_period"]) == int(unit_seconds) > STOP_SECONDS
    code_unit = (ROOT / "deploy/systemd/territory-delta-code.service").read_text()
    assert f"TimeoutStopSec={seconds(SERVICES['acme-worker']['stop_grace_period'])}\n" in code_unit


NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@pytest.mark.processes
@pytest.mark.skipif(NGINX is None, reason="SKIPPED LOUDLY: nginx is not installed")
@pytest.mark.parametrize("tenant", TENANTS)
def test_nginx_accepts_a_tenants_front(tenant: str, tmp_path: Path) -> None:
    site = (ROOT / "deploy/nginx/territory-delta.conf").read_text() + (COMPOSE / f"upstreams/{tenant}.conf").read_text()
    site = site.replace("/var/cache/nginx/", f"{tmp_path}/").replace("/var/log/nginx/", f"{tmp_path}/")
    main = tmp_path / "nginx.conf"
    main.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{site}\n}}\n")
    done = subprocess.run([str(NGINX), "-t", "-q", "-c", str(main)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    require_postgres()
    cluster = Cluster()
    yield cluster
    cluster.destroy()


@pytest.mark.processes
def test_the_stores_script_can_run_twice_and_gives_each_tenant_access_only_to_its_own_store(cluster: Cluster) -> None:
    environment = {"PATH": os.environ["PATH"], "PGHOST": str(cluster.folder), "POSTGRES_USER": "postgres"}
    environment |= {"POSTGRES_DB": "postgres", "STORE_PASSWORD_ACME": "a'1", "READER_PASSWORD_ACME": 'b"2'}
    environment |= {"STORE_PASSWORD_GLOBEX": "c3", "READER_PASSWORD_GLOBEX": "d4"}
    for _ in range(2):
        done = subprocess.run(
            ["sh", COMPOSE / "stores.sh"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def connected(role: str, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(cluster.folder), user=role, dbname=database, autocommit=True)

    with connected("acme", "acme") as owner:
        owner.execute("CREATE TABLE made_later (n integer)")
        owner.execute("INSERT INTO made_later VALUES (7)")
    with connected("acme_reader", "acme") as reader:
        assert reader.execute("SELECT n FROM made_later").fetchall() == [(7,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM made_later")
    for role in ("acme", "acme_reader"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connected(role, "globex")
    passwords = cluster.sql("SELECT count(*) FROM pg_authid WHERE rolname ~ 'acme|globex' AND rolpassword IS NOT NULL")
    assert passwords == [(4,)]
