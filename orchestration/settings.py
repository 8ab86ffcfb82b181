"""What an operator may set by environment variable. The CRM's own settings are in ``crm.settings``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from delta_service.store.engine import StoreLocation, location_of


class SettingsError(ValueError):
    """A setting cannot be used; the message names the variable."""


@dataclass(frozen=True)
class PipelineSettings:
    """Durations in seconds, ages in days. ``census_link_rows``: of each object with child lists (contacts' accounts,
    books), so many rows are read whole in a census, those first that were not read for longest; one operation each.
    """

    delta_home: Path
    delta_store_url: str | None = field(default=None, repr=False)
    """A PostgreSQL store; None for the SQLite file in ``delta_home``."""
    overlap_seconds: int = 600
    lag_seconds: int = 1
    reload_after_days: int = 25
    guard_max_share: float = 0.30
    guard_min_rows: int = 50
    guard_window_hours: float = 24
    guard_moved_share: float | None = None
    """None: moves that the CRM proves are never held."""
    history_days: int = 400
    body_hours: int = 48
    census_link_rows: int = 20_000
    lock_wait_seconds: float = 120.0
    streaming: bool = False
    """One resident run that polls again and again, instead of a run for each change."""
    stream_poll_seconds: float = 2.0
    stream_minutes: float = 15.0

    @property
    def heartbeat_seconds(self) -> float:
        """A sync runs at least this often, with news or without."""
        return self.overlap_seconds / 2

    @property
    def warehouse_path(self) -> Path:
        return self.delta_home / "warehouse.duckdb"

    @property
    def delta_store_path(self) -> Path:
        """The SQLite file, where that is the store."""
        return self.delta_home / "delta.sqlite"

    @property
    def delta_store_location(self) -> StoreLocation:
        try:
            return location_of(self.delta_store_url, self.delta_store_path)
        except ValueError as error:
            raise SettingsError(str(error)) from None

    @classmethod
    def from_environment(cls) -> PipelineSettings:
        """Raises :class:`SettingsError`."""
        return cls(
            delta_home=_home(os.environ.get("DELTA_HOME") or ".delta"),
            delta_store_url=os.environ.get("DELTA_STORE_URL") or None,
            overlap_seconds=int(_number("SYNC_OVERLAP_SECONDS", cls.overlap_seconds, 0, 86_400)),
            lag_seconds=int(_number("SYNC_LAG_SECONDS", cls.lag_seconds, 0, 600)),
            guard_max_share=_number("DELTA_GUARD_MAX_SHARE", cls.guard_max_share, 0, 1),
            guard_min_rows=int(_number("DELTA_GUARD_MIN_ROWS", cls.guard_min_rows, 1, 10**9)),
            guard_window_hours=_number("DELTA_GUARD_WINDOW_HOURS", cls.guard_window_hours, 0, 24 * 60),
            guard_moved_share=(
                _number("DELTA_GUARD_MOVED_SHARE", 1, 0, 1) if os.environ.get("DELTA_GUARD_MOVED_SHARE") else None
            ),
            history_days=int(_number("DELTA_HISTORY_DAYS", cls.history_days, 1, 36_500)),
            body_hours=int(_number("DELTA_BODY_HOURS", cls.body_hours, 1, 24 * 365)),
            census_link_rows=int(_number("CENSUS_LINK_ROWS", cls.census_link_rows, 0, 10**9)),
            lock_wait_seconds=_number("WAREHOUSE_LOCK_WAIT_SECONDS", cls.lock_wait_seconds, 0, 3600),
            streaming=_choice("SYNC_MODE", "runs", "stream") == "stream",
            stream_poll_seconds=_number("SYNC_STREAM_POLL_SECONDS", cls.stream_poll_seconds, 0.2, 60),
            stream_minutes=_number("SYNC_STREAM_MINUTES", cls.stream_minutes, 0.05, 720),
        )


@dataclass(frozen=True)
class RunRetention:
    """How long Dagster's runs are kept. ``routine`` runs are those that a sensor or schedule launched, ``quiet`` ones
    those of them that succeeded and published nothing; all others are an operator's."""

    quiet_days: float = 2
    routine_days: float = 14
    operator_days: float = 400
    routine_max: int = 10_000
    newest_of_each_job: int = 20

    @classmethod
    def from_environment(cls) -> RunRetention:
        """Raises :class:`SettingsError`."""
        return cls(
            quiet_days=_number("RUNS_KEEP_QUIET_DAYS", cls.quiet_days, 0, 36_500),
            routine_days=_number("RUNS_KEEP_ROUTINE_DAYS", cls.routine_days, 0, 36_500),
            operator_days=_number("RUNS_KEEP_OPERATOR_DAYS", cls.operator_days, 0, 36_500),
            routine_max=int(_number("RUNS_KEEP_ROUTINE_MAX", cls.routine_max, 1, 10**9)),
        )


@dataclass(frozen=True)
class AlertSettings:
    """Where alerts go (nowhere by default), and the address of Dagster's UI, for links in them."""

    webhook_url: str | None
    ui_url: str | None

    @classmethod
    def from_environment(cls) -> AlertSettings:
        ui_url = os.environ.get("DAGSTER_UI_URL", "").rstrip("/")
        return cls(os.environ.get("ALERT_WEBHOOK_URL") or None, ui_url or None)


def census_cron() -> str:
    """When a census runs, by ``CENSUS_SCHEDULE``: five fields of cron, which Dagster checks when it loads them."""
    return os.environ.get("CENSUS_SCHEDULE") or "0 2 * * *"


def _choice(variable: str, *allowed: str) -> str:
    """The first is the default."""
    text = os.environ.get(variable) or allowed[0]
    if text not in allowed:
        raise SettingsError(f"{variable}={text!r} is none of {', '.join(allowed)}")
    return text


def _home(text: str) -> Path:
    path = Path(text).absolute()
    if "?" in str(path):
        # DuckDB takes what follows for options, and writes elsewhere.
        raise SettingsError(f"DELTA_HOME={str(path)!r} has a '?' in it, which DuckDB cannot use: choose another folder")
    return path


def _number(variable: str, default: float, low: float, high: float) -> float:
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"{variable}={text!r} is not a number between {low:g} and {high:g}")
    return value
