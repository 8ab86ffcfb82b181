"""A copy of both stores at one publication, and a warehouse that goes on from such a copy.

The copy is taken under the warehouse's lock: no run writes meanwhile, and the service goes on answering. What was
published after it is lost by a restore, while devices may hold it. So a restored warehouse begins another epoch: every
cursor given before is refused, and the device compares and repairs what it holds instead of applying a wrong delta.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex

import apsw
import duckdb
import orjson

from delta_service.store.engine import StoreLocation
from delta_service.store.errors import StoreUnavailableError
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.sqlite import SqliteEngine
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import locked, newest_seq, read_state, scalar, transaction, write_state
from orchestration.settings import PipelineSettings

MANIFEST = "manifest.json"
WAREHOUSE = "warehouse.duckdb"
STORE = "delta.sqlite"
MILLISECOND_SECONDS = 0.001


class BackupError(RuntimeError):
    """A backup cannot be made, or cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class CopiedFile:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. Times are ISO 8601, UTC."""

    created_at: str
    epoch: str
    published_seq: int
    watermark: str | None
    """Everything that changed in the CRM before it is in."""
    files: dict[str, CopiedFile]

    @classmethod
    def read(cls, backup: Path) -> Manifest:
        """Raises :class:`BackupError` where there is none."""
        try:
            content = orjson.loads((backup / MANIFEST).read_bytes())
            files = {name: CopiedFile(**facts) for name, facts in content.pop("files").items()}
            return cls(**content, files=files)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BackupError(f"{backup} is no complete backup: {MANIFEST} is missing or cannot be read") from error


def create_backup(settings: PipelineSettings, folder: Path, now: datetime) -> Path:
    """Copy the stores into a new folder below ``folder``, named by ``now`` (UTC), and return it.

    Raises :class:`BackupError`, and ``WarehouseBusyError`` where a run does not let go. It holds rows of customers and
    the key of the cursors: only the owner may read it. A backup that was interrupted has no manifest.
    """
    if not settings.warehouse_path.exists():
        raise BackupError(f"there is no warehouse at {settings.warehouse_path}: nothing to copy")
    backup = folder / f"{now:%Y%m%dT%H%M%SZ}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        backup.mkdir(mode=0o700)
    except FileExistsError:
        raise BackupError(f"{backup} is there already") from None
    with locked(settings.warehouse_path, settings.lock_wait_seconds):
        _copy_database(settings.warehouse_path, backup / WAREHOUSE)
        # One in PostgreSQL is not copied: it can be made again from the warehouse.
        if settings.delta_store_location == settings.delta_store_path and settings.delta_store_path.exists():
            _copy_store(settings.delta_store_path, backup / STORE)
    # Opened, the copy folds what a killed run may have left in the log beside it.
    with duckdb.connect(str(backup / WAREHOUSE)) as copy:
        copy.execute("CHECKPOINT")
        manifest = Manifest(
            created_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            epoch=read_state(copy, "epoch") or "",
            published_seq=newest_seq(copy),
            watermark=read_state(copy, "watermark"),
            files={},
        )
    manifest.files.update({path.name: _facts(path) for path in sorted(backup.iterdir())})
    (backup / MANIFEST).write_bytes(orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
    return backup


def verify_backup(backup: Path) -> Manifest:
    """Check sums, integrity, and the published tables against a recompute. Raises :class:`BackupError`."""
    manifest = Manifest.read(backup)
    _check_sums(backup, manifest)
    with duckdb.connect(str(backup / WAREHOUSE), read_only=True) as copy:
        # Between a read and its publication the tables may differ from the snapshots.
        if not scalar(copy, "SELECT count(*) FROM touched"):
            wrong = {name: count for name, count in differences(copy).items() if count}
            if wrong:
                raise BackupError(f"{backup / WAREHOUSE} contradicts itself: {wrong}")
    if STORE in manifest.files:
        store = apsw.Connection(
            f"{(backup / STORE).absolute().as_uri()}?immutable=1",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        )
        (result,) = store.execute("PRAGMA integrity_check(1)").fetchall()[0]
        store.close()
        if result != "ok":
            raise BackupError(f"{backup / STORE} is damaged: {result}")
    return manifest


def restore_backup(settings: PipelineSettings, backup: Path, now: datetime, *, nothing_lost: bool) -> Path | None:
    """Put a backup's warehouse in the place of the present one, which is kept beside it; returns where.

    The delta store, if there is one, is left as it is: the next sync replaces it once the gap has been read, so that no
    device is told of an older state meanwhile. With ``nothing_lost`` (no publication was made after the backup: a move
    to another machine) cursors stay good, and the store's copy is put in place too.

    ``now`` is UTC without zone. Raises :class:`BackupError`; the present warehouse is untouched then.
    """
    manifest = Manifest.read(backup)
    _check_sums(backup, manifest)
    home = settings.delta_home
    home.mkdir(parents=True, exist_ok=True)
    with locked(settings.warehouse_path, settings.lock_wait_seconds):
        if nothing_lost:
            _refuse_if_ahead(settings.delta_store_location, manifest)
        coming = home / "restoring.duckdb"
        shutil.copyfile(backup / WAREHOUSE, coming)
        with duckdb.connect(str(coming)) as connection:
            if not nothing_lost:
                begin_after_loss(connection, now)
            connection.execute("CHECKPOINT")
        if nothing_lost and STORE in manifest.files and not settings.delta_store_path.exists():
            shutil.copyfile(backup / STORE, home / "restoring.sqlite")
            (home / "restoring.sqlite").replace(settings.delta_store_path)
        replaced = _set_aside(settings.warehouse_path, now)
        coming.replace(settings.warehouse_path)
        return replaced


def begin_after_loss(connection: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Make the warehouse one whose later history was lost; returns the publication from which on cursors are good.

    Devices may hold publications beyond the newest one here. So the epoch changes, which refuses every cursor; and the
    numbers go on beyond any that can have been used (a publication takes longer than a millisecond), with the horizon
    there, which refuses every number and every time from before.
    """
    with transaction(connection):
        newest = newest_seq(connection)
        made_at, as_of = connection.execute(
            "SELECT max(published_at), max(as_of) FROM publication WHERE seq = ?", [newest]
        ).fetchall()[0]
        if made_at is None:
            raise BackupError("the backup was made before the first publication: run full_load instead")
        seq = newest + max(1, int((now - made_at).total_seconds() / MILLISECOND_SECONDS))
        connection.execute("INSERT INTO publication VALUES (?, ?, ?, 0, 0, 0, 0)", [seq, as_of, now])
        write_state(connection, "epoch", token_hex(4))
        for horizon in ("horizon_seq", "body_horizon_seq"):
            write_state(connection, horizon, str(seq))
    return seq


def _copy_database(source: Path, target: Path) -> None:
    """A DuckDB file that nobody has open, with the log that a killed process may have left."""
    shutil.copyfile(source, target)
    log = _log_of(source)
    if log.exists():
        shutil.copyfile(log, _log_of(target))


def _copy_store(source: Path, target: Path) -> None:
    """Through SQLite's backup, since the service has the file open."""
    reader, copy = SqliteEngine(source).open_reader(), apsw.Connection(str(target))
    try:
        with copy.backup("main", reader, "main") as steps:
            steps.step()
    finally:
        copy.close()
        reader.close()


def _facts(path: Path) -> CopiedFile:
    with path.open("rb") as file:
        # On disk before the manifest says so.
        os.fsync(file.fileno())
        return CopiedFile(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _check_sums(backup: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        if not (backup / name).exists() or _facts(backup / name) != expected:
            raise BackupError(f"{backup / name} is missing or not what was copied: this backup cannot be used")


def _refuse_if_ahead(store: StoreLocation, manifest: Manifest) -> None:
    try:
        with closing(DeltaStoreReader(store)) as reader:
            state = reader.state(None)
    except StoreUnavailableError:
        return
    if state.epoch != manifest.epoch or state.published_seq > manifest.published_seq:
        raise BackupError(
            f"the delta store here is at publication {state.published_seq}, the backup at {manifest.published_seq}:"
            " something would be lost. Restore without --nothing-lost."
        )


def _set_aside(warehouse: Path, now: datetime) -> Path | None:
    if not warehouse.exists():
        return None
    aside = warehouse.with_name(f"warehouse.replaced-{now:%Y%m%dT%H%M%SZ}.duckdb")
    if _log_of(warehouse).exists():
        _log_of(warehouse).rename(_log_of(aside))
    # A second name first, so that there is a warehouse at every moment.
    os.link(warehouse, aside)
    return aside


def _log_of(database: Path) -> Path:
    return database.with_name(database.name + ".wal")
