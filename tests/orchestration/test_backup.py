"""Copies of the stores, and what a restored warehouse says to cursors from a history that was lost."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from delta_service.store.reader import DeltaStoreReader
from delta_service.store.writer import DeltaStoreWriter
from orchestration.backup import main
from orchestration.catalog import load_catalog
from orchestration.pipeline.backup import (
    BackupError,
    Manifest,
    begin_after_loss,
    create_backup,
    restore_backup,
    verify_backup,
)
from orchestration.pipeline.derive import derive
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse, read_state
from orchestration.settings import PipelineSettings
from tests.pipeline.test_derive import put

CATALOG = load_catalog()
NO_GUARD = Guard(1.0, 10**6)
START = datetime(2026, 11, 24, 6, 0, 0)  # noqa: DTZ001 - the warehouse stores UTC without zone
NOW = START.replace(tzinfo=UTC) + timedelta(hours=5)


@pytest.fixture
def settings(tmp_path: Path) -> PipelineSettings:
    made = PipelineSettings(tmp_path / "home", lock_wait_seconds=1)
    for number in range(3):
        publish(made, number)
    return made


def publish(settings: PipelineSettings, number: int) -> None:
    moment = START + timedelta(hours=number)
    with open_warehouse(settings.warehouse_path, CATALOG, 1) as connection:
        put(connection, "account", f"A{number}", AccountName="Clinic", TerritoryId="T1")
        assert derive(connection, CATALOG, as_of=moment, now=moment, guard=NO_GUARD)
        with DeltaStoreWriter(settings.delta_store_path) as writer:
            replicate(connection, CATALOG, writer)


def store_state(settings: PipelineSettings) -> tuple[str, int, int]:
    with closing(DeltaStoreReader(settings.delta_store_path)) as reader:
        state = reader.state(None)
    return state.epoch, state.published_seq, state.horizon_seq


def newest(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute("SELECT max(seq) FROM publication").fetchall()[0][0])


def test_a_backup_holds_both_stores_at_one_publication_and_only_the_owner_may_read_it(
    settings: PipelineSettings, tmp_path: Path
) -> None:
    backup = create_backup(settings, tmp_path / "backups", NOW)
    assert backup.name == "20261124T110000Z"
    assert backup.stat().st_mode & 0o077 == 0
    manifest = verify_backup(backup)
    assert manifest.published_seq == 3
    assert set(manifest.files) == {"warehouse.duckdb", "delta.sqlite"}
    with pytest.raises(BackupError, match="is there already"):
        create_backup(settings, tmp_path / "backups", NOW)


def test_a_backup_holds_what_a_killed_run_had_committed_to_the_log_beside_the_file(
    settings: PipelineSettings, tmp_path: Path
) -> None:
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        connection.execute("SET checkpoint_threshold = '1TB'")
        connection.execute("INSERT INTO state VALUES ('late', 'yes')")
        # As kill -9 leaves it: the file, and a log that was not folded into it.
        aside = tmp_path / "killed"
        aside.mkdir()
        for path in settings.delta_home.glob("warehouse.duckdb*"):
            (aside / path.name).write_bytes(path.read_bytes())
    killed = PipelineSettings(aside, lock_wait_seconds=1)
    assert (aside / "warehouse.duckdb.wal").exists()
    backup = create_backup(killed, tmp_path / "backups", NOW)
    with duckdb.connect(str(backup / "warehouse.duckdb"), read_only=True) as copy:
        assert read_state(copy, "late") == "yes"


def test_a_restore_after_a_loss_refuses_every_cursor_number_and_time_from_before(
    settings: PipelineSettings, tmp_path: Path
) -> None:
    backup = create_backup(settings, tmp_path / "backups", NOW)
    for number in range(3, 6):
        publish(settings, number)
    lost_epoch, lost_seq, _ = store_state(settings)
    replaced = restore_backup(settings, backup, START + timedelta(hours=8), nothing_lost=False)
    assert replaced is not None
    with duckdb.connect(str(replaced), read_only=True) as old:
        assert newest(old) == lost_seq
    # Until the next sync has read the gap, devices are answered from what is there.
    assert store_state(settings)[1] == lost_seq
    publish(settings, 9)
    epoch, seq, horizon = store_state(settings)
    assert epoch != lost_epoch
    assert horizon > lost_seq
    assert seq == horizon + 1
    with open_warehouse(settings.warehouse_path, CATALOG, 1) as connection:
        assert not any(differences(connection).values())


def test_the_same_backup_restored_twice_never_gives_a_number_twice(settings: PipelineSettings, tmp_path: Path) -> None:
    backup = create_backup(settings, tmp_path / "backups", NOW)
    used: list[tuple[int, int]] = []
    for hours in (6, 7, 8):
        restore_backup(settings, backup, START + timedelta(hours=hours), nothing_lost=False)
        with open_warehouse(settings.warehouse_path, CATALOG, 1) as connection:
            first = newest(connection)
        for number in range(10, 13):
            publish(settings, number)
        used.append((first, first + 3))
    assert all(before[1] < after[0] for before, after in pairwise(used))
    assert used[-1][1] < 2**53


def test_a_restore_without_loss_keeps_epoch_and_numbers(settings: PipelineSettings, tmp_path: Path) -> None:
    backup = create_backup(settings, tmp_path / "backups", NOW)
    elsewhere = PipelineSettings(tmp_path / "elsewhere", lock_wait_seconds=1)
    assert restore_backup(elsewhere, backup, START, nothing_lost=True) is None
    assert store_state(elsewhere) == store_state(settings)
    publish(elsewhere, 4)
    assert store_state(elsewhere)[1] == 4


def test_a_restore_is_not_without_loss_where_the_store_is_further(settings: PipelineSettings, tmp_path: Path) -> None:
    backup = create_backup(settings, tmp_path / "backups", NOW)
    publish(settings, 4)
    with pytest.raises(BackupError, match="Restore without --nothing-lost"):
        restore_backup(settings, backup, START, nothing_lost=True)


def test_a_copy_that_was_changed_or_not_finished_is_refused(settings: PipelineSettings, tmp_path: Path) -> None:
    backup = create_backup(settings, tmp_path / "backups", NOW)
    (backup / "delta.sqlite").write_bytes((backup / "delta.sqlite").read_bytes()[:-1])
    for use in (lambda: verify_backup(backup), lambda: restore_backup(settings, backup, START, nothing_lost=False)):
        with pytest.raises(BackupError, match=r"delta\.sqlite is missing or not what was copied"):
            use()
    (backup / "manifest.json").unlink()
    with pytest.raises(BackupError, match="no complete backup"):
        Manifest.read(backup)


def test_a_backup_from_before_the_first_publication_is_no_place_to_go_on_from(tmp_path: Path) -> None:
    with (
        open_warehouse(tmp_path / "warehouse.duckdb", CATALOG, 1) as connection,
        pytest.raises(BackupError, match="run full_load"),
    ):
        begin_after_loss(connection, START)


def test_the_command_says_what_it_did_and_what_to_do_next(
    settings: PipelineSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DELTA_HOME", str(settings.delta_home))
    assert main(["create", str(tmp_path / "backups")]) == 0
    (backup,) = (tmp_path / "backups").iterdir()
    assert f"{backup}: publication 3, delta.sqlite, warehouse.duckdb" in capsys.readouterr().out
    assert main(["verify", str(backup)]) == 0
    assert "is good" in capsys.readouterr().out
    assert main(["restore", str(backup)]) == 0
    assert "Run the job sync" in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == 1
    assert "no complete backup" in capsys.readouterr().err
