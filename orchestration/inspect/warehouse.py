"""Questions to the warehouse, or to a backup's copy of it. Each opens the file, reads, and closes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from delta_service.store.changes import OPEN_SEQ
from orchestration.inspect.moments import InspectError, Moment, check_kept, parse_moment, with_bodies
from orchestration.pipeline.rebuild import UnknownTerritoryError, resolve_territories
from orchestration.pipeline.warehouse import connect, locked, newest_seq, read_state, scalar, statement, to_stored
from orchestration.settings import PipelineSettings

WAIT_SECONDS = 5.0


@contextmanager
def opened(file: Path | None, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse (default: that of ``DELTA_HOME``), read-only; a run that comes meanwhile waits.

    Raises :class:`InspectError` where there is none, ``WarehouseBusyError`` where a run does not let go.
    """
    path = file or PipelineSettings.from_environment().warehouse_path
    if not path.exists():
        raise InspectError(f"there is no warehouse at {path}: set DELTA_HOME, or run full_load first")
    # A backup's copy has no lock beside it, and needs none.
    in_use = path.with_suffix(".lock").exists()
    with locked(path, wait_seconds) if in_use else nullcontext():
        options: dict[str, Any] = {"read_only": True, "config": {"autoinstall_known_extensions": "false"}}
        connection = connect(path, wait_seconds, time.monotonic() + wait_seconds, **options)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def publications(last: int = 20, *, file: Path | None = None, wait_seconds: float = WAIT_SECONDS) -> pd.DataFrame:
    """The newest publications first: seq, published_at, as_of, territories touched, rows inserted, updated, deleted."""
    with opened(file, wait_seconds) as connection:
        return _frame(connection, "inspect_publications", last=last)


def deltas(
    territory: str,
    since: Moment = 0,
    until: Moment = None,
    *,
    each: bool = False,
    bodies: bool = False,
    file: Path | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> pd.DataFrame:
    """By what a territory (id or name) differs at ``until`` from ``since``: object, row_id, operation, version.

    ``since=0`` is a device without anything. ``each`` lists what every publication between did, instead of the sum.
    Raises :class:`InspectError`.
    """
    with opened(file, wait_seconds) as connection:
        bounds = {
            "territory": _territory(connection, territory),
            "since": 0 if parse_moment(since) == 0 else _seq(connection, since),
            "until": _seq(connection, until),
        }
        if each:
            return _frame(connection, "inspect_each_delta", **bounds)
        return with_bodies(_frame(connection, "inspect_deltas", **bounds), bodies=bodies, expand=False)


def history(
    obj: str, row_id: str, *, bodies: bool = True, file: Path | None = None, wait_seconds: float = WAIT_SECONDS
) -> pd.DataFrame:
    """A row's versions (kind ``content``) and the intervals in which territories saw it (kind ``visible``).

    ``obj`` is the catalog's name, such as ``account``. A body is empty where it is no longer kept.
    """
    with opened(file, wait_seconds) as connection:
        frame = _frame(connection, "inspect_history", object=obj, row_id=row_id, open=OPEN_SEQ)
    frame = frame.astype({"from_seq": "Int64", "to_seq": "Int64"})
    return with_bodies(frame, bodies=bodies, expand=False)


def contents(
    territory: str,
    at: Moment = None,
    *,
    obj: str | None = None,
    bodies: bool = False,
    file: Path | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> pd.DataFrame:
    """What a territory (id or name) sees at a moment: object, row_id, version.

    ``bodies`` adds the JSON text, or, of one object ``obj``, a column for each member. Raises :class:`InspectError`.
    """
    with opened(file, wait_seconds) as connection:
        seen = {"territory": _territory(connection, territory), "at": _seq(connection, at), "object": obj}
        frame = _frame(connection, "inspect_contents", **seen)
    return with_bodies(frame, bodies=bodies, expand=obj is not None)


def held(territory: str | None = None, *, file: Path | None = None, wait_seconds: float = WAIT_SECONDS) -> pd.DataFrame:
    """What the guard holds: counts by territory and object, or the rows of one territory (id or name).

    Raises :class:`InspectError`.
    """
    with opened(file, wait_seconds) as connection:
        if territory is None:
            return _frame(connection, "inspect_held", open=OPEN_SEQ)
        return _frame(connection, "inspect_held_rows", territory=_territory(connection, territory))


def decisions(*, file: Path | None = None, wait_seconds: float = WAIT_SECONDS) -> pd.DataFrame:
    """What was released or rejected: when, where, how many rows, by whom and why."""
    with opened(file, wait_seconds) as connection:
        return _frame(connection, "inspect_decisions")


def _frame(connection: duckdb.DuckDBPyConnection, name: str, **parameters: Any) -> pd.DataFrame:
    return connection.execute(statement(name), parameters).df()


def _territory(connection: duckdb.DuckDBPyConnection, given: str) -> str:
    try:
        return resolve_territories(connection, [given], None)[0]
    except UnknownTerritoryError as error:
        raise InspectError(str(error)) from error


def _seq(connection: duckdb.DuckDBPyConnection, moment: Moment) -> int:
    parsed = parse_moment(moment)
    newest = newest_seq(connection)
    horizon = int(read_state(connection, "horizon_seq") or 0)
    if isinstance(parsed, datetime):
        parsed = scalar(
            connection,
            "SELECT coalesce(max(seq), 0) FROM publication WHERE published_at <= ?",
            [to_stored(parsed)],
        )
    return check_kept(newest if parsed is None else parsed, newest, horizon)
