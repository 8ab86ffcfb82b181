"""Clients hear of rows that are held back, and of nothing while there are none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from delta_service.store.changes import TerritoryHeld
from tests.clients.conftest import Served, bearer, served
from tests.clients.devices import pulled
from tests.clients.publications import TERRITORIES
from tests.delta_service.model import change_set
from tests.e2e.system import PROJECT

T1 = "/v1/territories/T1"
pytestmark = pytest.mark.processes

SINCE = datetime(2026, 11, 24, 6, 2, tzinfo=UTC)
SINCE_TEXT = "2026-11-24T06:02:00Z"
SAID = f"rows held back by the service since {SINCE_TEXT}: 12 account, 3 contact; these may be outdated\n"
NODE = shutil.which("node")
SCRIPT = """
import { Service } from "./delta-api.mjs";
const [url, token, limit] = process.argv.slice(-3);
const service = new Service({ url, route: "/v1/territories/T1", token: () => token });
const pages = [await service.delta({ limit }), await service.wholeDelta({ limit })];
process.stdout.write(JSON.stringify(pages.map(({ held, heldSince }) => [held, heldSince])));
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, seed=5, accounts=30) as running:
        yield running


def hold(service: Served, accounts: int, contacts: int) -> None:
    """A publication that changes nothing but how many rows are held."""
    publications = service.publications
    publications.seq += 1
    counts = {"account": accounts, "contact": contacts}
    held = [TerritoryHeld("T1", name, rows, SINCE) for name, rows in counts.items()]
    unchanged = change_set(publications.seq, publications.world, publications.world, TERRITORIES)
    publications.writer.apply(replace(unchanged, held=held))
    publications.await_served(service.http)


def test_the_reference_client_knows_how_many_rows_are_held_and_since_when(service: Served, file: Path) -> None:
    for accounts, contacts, since in ((0, 0, None), (12, 3, SINCE_TEXT), (0, 3, SINCE_TEXT), (0, 0, None)):
        hold(service, accounts, contacts)
        facts = pulled(service, file, "T1", route=T1).facts
        rows = {"account": accounts, "contact": contacts}
        assert facts.held == {name: count for name, count in rows.items() if count}
        assert facts.held_since == since


def test_pull_prints_one_line_about_held_rows_only_while_there_are_any(service: Served, file: Path) -> None:
    def pull() -> list[str]:
        options = ["--db", str(file), "--url", service.url, "--territory", "T1", "--token", bearer("T1")]
        command = [sys.executable, "-m", "delta_client", "pull", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=60, check=True)
        return done.stdout.splitlines(keepends=True)

    assert len(pull()) == 1
    hold(service, 12, 3)
    first, second = pull()
    assert "proven equal" in first
    assert second == SAID
    hold(service, 0, 0)
    assert len(pull()) == 1


def test_who_follows_is_told_when_rows_are_held_and_when_no_more(service: Served, file: Path) -> None:
    options = ["--db", str(file), "--url", service.url, "--territory", "T1", "--token", bearer("T1"), "--follow"]
    with subprocess.Popen(
        [sys.executable, "-m", "delta_client", "pull", *options], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as process:
        assert process.stdout is not None
        try:
            assert "proven equal" in process.stdout.readline()
            hold(service, 12, 3)
            assert "; 0 operations" in process.stdout.readline()
            assert process.stdout.readline() == SAID
            hold(service, 0, 0)
            assert "; 0 operations" in process.stdout.readline()
            assert process.stdout.readline() == "no rows are held back any more\n"
        finally:
            process.kill()


@pytest.mark.skipif(NODE is None, reason="node is not installed: the adapters' requests are NOT tested")
def test_the_adapters_requests_tell_of_held_rows(service: Served, tmp_path: Path) -> None:
    shutil.copy(PROJECT / "docs/clients/delta-api.mjs", tmp_path)
    (tmp_path / "held.mjs").write_text(SCRIPT)

    def told() -> Any:
        command = [str(NODE), "held.mjs", service.url, bearer("T1"), "7"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True)
        return json.loads(done.stdout)

    assert told() == [[{}, None]] * 2
    hold(service, 12, 3)
    assert told() == [[{"account": 12, "contact": 3}, SINCE_TEXT]] * 2
