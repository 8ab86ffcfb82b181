"""A warehouse that is held, full or read-only: waited for, then named with what to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from delta_service.settings import ServiceSettings
from delta_service.settings import SettingsError as ServiceSettingsError
from delta_service.store.errors import StoreDiskFullError, StoreReadOnlyError
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.writer import DeltaStoreWriter
from orchestration.advice import UNKNOWN, what_to_do
from orchestration.inspect.warehouse import opened
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.storage import StorageError
from orchestration.pipeline.warehouse import WarehouseBusyError, open_warehouse, transaction
from orchestration.settings import PipelineSettings, SettingsError
from tests.pipeline.histories import publish_some
from tests.pipeline.snapshot_rows import CATALOG

pytestmark = pytest.mark.processes

NOTEBOOK = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with open_warehouse(path, CATALOG, wait_seconds=1):
        pass
    return path


def notebook(path: Path, seconds: float) -> subprocess.Popen[bytes]:
    """A process that has the file open without a lock of ours."""
    process = subprocess.Popen([sys.executable, "-c", NOTEBOOK, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    return process


def test_a_notebook_that_lets_go_in_time_is_waited_for(path: Path) -> None:
    with notebook(path, 1.0) as process:
        with open_warehouse(path, CATALOG, wait_seconds=30) as connection:
            assert connection.execute("SELECT count(*) FROM touched").fetchall() == [(0,)]
        process.kill()


def test_a_notebook_that_does_not_let_go_is_named_after_the_wait(path: Path) -> None:
    with notebook(path, 60) as process:
        started = time.monotonic()
        with pytest.raises(WarehouseBusyError, match=rf"process {process.pid} \(.*python") as caught:
            open_warehouse(path, CATALOG, wait_seconds=1).__enter__()
        assert time.monotonic() - started >= 1
        assert "WAREHOUSE_LOCK_WAIT_SECONDS" in str(caught.value)
        with pytest.raises(WarehouseBusyError, match=str(process.pid)):
            opened(path, 0.2).__enter__()
        process.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_named_and_the_next_run_goes_on(small_disk: Path) -> None:
    path = small_disk / "warehouse.duckdb"
    with open_warehouse(path, CATALOG, wait_seconds=1):
        pass
    with (
        pytest.raises(StorageError, match="the disk is full") as caught,
        open_warehouse(path, CATALOG, wait_seconds=1) as connection,
        transaction(connection),
    ):
        connection.execute("INSERT INTO row_body SELECT 'account', i, 1, md5(i::VARCHAR) FROM range(2_000_000) AS r(i)")
    assert "Free space" in what_to_do(caught.value)
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        assert connection.execute("SELECT count(*) FROM row_body").fetchall() == [(0,)]


def test_a_full_disk_leaves_the_delta_store_as_it_was(small_disk: Path) -> None:
    store = small_disk / "delta.sqlite"
    with open_warehouse(small_disk / "warehouse.duckdb", CATALOG, wait_seconds=1) as connection:
        publish_some(connection)
        with DeltaStoreWriter(store) as writer:
            replicate(connection, CATALOG, writer)
    filling = small_disk / "filling"
    with (
        open_warehouse(small_disk / "warehouse.duckdb", CATALOG, wait_seconds=1) as connection,
        DeltaStoreWriter(store) as writer,
    ):
        with pytest.raises(OSError, match="No space left"):
            filling.write_bytes(bytes(24 * 2**20))
        with pytest.raises(StoreDiskFullError, match=r"the disk that holds .*delta.sqlite is full") as caught:
            replicate(connection, CATALOG, writer, full_copy=True)
        assert "Free space" in what_to_do(caught.value)
    filling.unlink()
    reader = DeltaStoreReader(store)
    assert reader.state(None).published_seq == 4
    reader.close()
    assert not store.with_name("delta.sqlite.new").exists()


def test_a_read_only_file_system_is_named_by_pipeline_and_service(small_disk: Path) -> None:
    path, store = small_disk / "warehouse.duckdb", small_disk / "delta.sqlite"
    with open_warehouse(path, CATALOG, wait_seconds=1) as connection:
        publish_some(connection)
        with DeltaStoreWriter(store) as writer:
            replicate(connection, CATALOG, writer)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="read-only"):
        open_warehouse(path, CATALOG, wait_seconds=1).__enter__()
    with pytest.raises(StoreReadOnlyError, match="read-only") as caught:
        DeltaStoreReader(store)
    assert what_to_do(caught.value) != UNKNOWN
    with pytest.raises(StoreReadOnlyError):
        DeltaStoreWriter(store)


@pytest.mark.parametrize("name", ["a#b", "a%41b", "a b", "ä;'b"])
def test_stores_work_in_folders_with_unusual_names(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    with open_warehouse(home / "warehouse.duckdb", CATALOG, wait_seconds=1) as connection:
        publish_some(connection)
        with DeltaStoreWriter(home / "delta.sqlite") as writer:
            replicate(connection, CATALOG, writer)
    reader = DeltaStoreReader(home / "delta.sqlite")
    assert reader.state(None).published_seq == 4
    reader.close()
    assert {file.name for file in tmp_path.iterdir()} == {name}


def test_a_question_mark_in_the_folder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTA_HOME", str(tmp_path / "what?"))
    monkeypatch.setenv("DELTA_JWT_SECRET", "x" * 40)
    with pytest.raises(SettingsError, match=r"DELTA_HOME=.*'\?'.*another folder"):
        PipelineSettings.from_environment()
    with pytest.raises(ServiceSettingsError, match="DELTA_HOME"):
        ServiceSettings.from_environment()
