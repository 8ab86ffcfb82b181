"""A backup while the service serves, the loss of the disk, and devices that hold what the backup does not know."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from delta_client.connection import Connection
from delta_client.database import Database
from delta_client.device import Device, Step
from tests.e2e.changes import RandomChanges
from tests.e2e.oracle import Oracle, View
from tests.e2e.steps import NO_GUARD, sync
from tests.e2e.system import BIN, PROJECT, System, running_system

pytestmark = pytest.mark.e2e


class Tablet:
    """The reference client on a file of its own."""

    def __init__(self, system: System, territory: str, name: str) -> None:
        self.system, self.territory, self.path = system, territory, system.home / f"{name}.sqlite"

    def sync(self) -> tuple[Step, ...]:
        token = self.system.token(self.territory)
        with Connection(self.system.service, token) as connection, Database(self.path) as database:
            return Device(connection, database, f"/v1/territories/{self.territory}").sync(patience_seconds=30).steps

    @property
    def rows(self) -> int:
        with Database(self.path) as database:
            return database.row_count

    def expect(self, view: View) -> None:
        with Database(self.path) as database:
            held = {
                name: {row_id: json.loads(body, parse_float=str, parse_int=str) for row_id, body in database.rows(name)}
                for name in view
            }
        assert held == view


def command(system: System, *arguments: object, expect: int = 0) -> str:
    done = subprocess.run(
        [str(part) for part in (BIN / "python", "-m", "orchestration.backup", *arguments)],
        cwd=PROJECT, env=system.environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def lose_the_disk(system: System) -> None:
    for path in system.home.glob("warehouse.*"):
        path.unlink()
    for path in system.home.glob("delta.sqlite*"):
        path.unlink()


def ask(system: System, territory: str, since: str | int) -> httpx.Response:
    return system.http.get(
        f"{system.service}/v1/territories/{territory}/delta",
        params={"since": since},
        headers={"Authorization": f"Bearer {system.token(territory)}"},
    )


def test_after_a_restore_no_device_keeps_a_row_that_it_should_not_have(tmp_path: Path) -> None:
    with running_system(made(tmp_path / "home"), **NO_GUARD) as system:
        system.start_crm(accounts=120, territories=4, seed=5)
        changes = RandomChanges(system, 5)
        system.run_job("full_load")
        system.start_service()
        system.wait_published()
        early = [Tablet(system, territory, f"early-{territory}") for territory in changes.territories]
        late = [Tablet(system, territory, f"late-{territory}") for territory in changes.territories]
        for tablet in (*early, *late):
            tablet.sync()

        printed = command(system, "create", tmp_path / "backups")
        (backup,) = (tmp_path / "backups").iterdir()
        assert str(backup) in printed
        assert "is good" in command(system, "verify", backup)

        # Rows that come and go again after the backup are known to no one but the devices that saw them.
        passing = system.control(
            "insert", object="Account", fields={"AccountName": "Passing", "TerritoryId": changes.territories[0]}
        )["touched"]["Account"][0]
        for _ in range(3):
            for _ in range(8):
                changes.step()
            sync(system)
        system.wait_served()
        lost_seq = system.http.get(f"{system.service}/readyz").json()["publishedSeq"]
        between = datetime.now(UTC).isoformat()
        for tablet in late:
            tablet.sync()
        assert any(tablet.rows for tablet in late)
        system.control("delete", object="Account", id=passing, events="none")
        for _ in range(8):
            changes.step()

        system.kill("service")
        lose_the_disk(system)
        assert "cursors from before are refused" in command(system, "restore", backup)
        system.start_service()
        published = sync(system)
        system.wait_published()
        system.wait_served()
        for tablet in late:
            # There is nothing to compare where nothing is held.
            repair = Step.RECONCILE if tablet.rows else Step.SNAPSHOT
            assert repair in tablet.sync()
            tablet.expect(published.view({tablet.territory}))
        for tablet in early:
            tablet.sync()
            tablet.expect(published.view({tablet.territory}))
        territory = changes.territories[0]
        for since in (*range(1, lost_seq + 5), between):
            assert ask(system, territory, since).status_code == 410, since

        # And on from there, by ordinary deltas.
        for _ in range(8):
            changes.step()
        published = sync(system)
        system.wait_served()
        for tablet in (*early, *late):
            assert tablet.sync() == (Step.DELTA,)
            tablet.expect(published.view({tablet.territory}))


def test_a_move_to_another_machine_keeps_every_cursor(tmp_path: Path) -> None:
    with running_system(made(tmp_path / "old"), **NO_GUARD) as system:
        system.start_crm(accounts=60, territories=3, seed=6)
        changes = RandomChanges(system, 6)
        system.run_job("full_load")
        system.start_service()
        system.wait_published()
        tablet = Tablet(system, changes.territories[0], "tablet")
        tablet.sync()
        system.kill("service")
        command(system, "create", tmp_path / "backups")
        (backup,) = (tmp_path / "backups").iterdir()

        system.environment["DELTA_HOME"] = str(tmp_path / "new")
        command(system, "restore", backup, "--nothing-lost")
        system.start_service()
        system.wait_published()
        assert tablet.sync() == (Step.DELTA,)
        for _ in range(6):
            changes.step()
        system.control("clock", advance_seconds=3)
        oracle = Oracle(system)
        system.run_job("sync")
        system.home = tmp_path / "new"
        system.wait_served()
        assert tablet.sync() == (Step.DELTA,)
        tablet.expect(oracle.view({tablet.territory}))


def test_a_restore_that_would_lose_publications_is_not_called_lossless(tmp_path: Path) -> None:
    with running_system(tmp_path, **NO_GUARD) as system:
        system.start_crm(accounts=40, territories=2, seed=8)
        changes = RandomChanges(system, 8)
        system.run_job("full_load")
        command(system, "create", tmp_path / "backups")
        (backup,) = (tmp_path / "backups").iterdir()
        for _ in range(4):
            changes.step()
        sync(system)
        assert "Restore without --nothing-lost" in command(system, "restore", backup, "--nothing-lost", expect=1)
        with (backup / "warehouse.duckdb").open("r+b") as file:
            file.seek(20_000)
            file.write(b"x" * 100)
        assert "this backup cannot be used" in command(system, "verify", backup, expect=1)
        assert "this backup cannot be used" in command(system, "restore", backup, expect=1)
