"""What a person decides about held rows: let them go, or have them read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from orchestration.catalog import Catalog
from orchestration.pipeline.guard import accept_readings
from orchestration.pipeline.rebuild import resolve_territories
from orchestration.pipeline.requests import ReadRequest, store_requests
from orchestration.pipeline.warehouse import scalar, statement


class NothingHeldError(ValueError):
    """Nothing is held where a decision was made; the message says what is."""


@dataclass(frozen=True)
class Decision:
    """About all held rows, or those of some territories (ids or unique names), or of one object.

    Raises ``ValueError`` for a blank reason.
    """

    reason: str
    decided_by: str
    territories: Sequence[str] = ()
    object: str | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("A decision needs a reason: it is kept with it.")


@dataclass(frozen=True)
class Decided:
    """How many rows of one territory were decided about."""

    territory: str
    name: str | None
    rows: int


def release(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, decision: Decision, now: datetime
) -> list[Decided]:
    """Put the readings that are held into the snapshot; the next derivation publishes them.

    Raises :class:`NothingHeldError` and ``UnknownTerritoryError``. The caller holds the transaction.
    """
    decided = _choose(connection, catalog, decision)
    accept_readings(connection, catalog, "SELECT DISTINCT object, row_id FROM chosen")
    _keep(connection, "release", decision, decided, now)
    return decided


def reject(connection: duckdb.DuckDBPyConnection, catalog: Catalog, decision: Decision, now: datetime) -> list[Decided]:
    """Have the rows read again by the next sync. They stay as they are until the CRM shows them, or proves a delete.

    Raises :class:`NothingHeldError` and ``UnknownTerritoryError``. The caller holds the transaction.
    """
    decided = _choose(connection, catalog, decision)
    rows = connection.execute("SELECT DISTINCT object, row_id FROM chosen").fetchall()
    store_requests(
        connection, (ReadRequest.row(obj, row_id, "a held reading was rejected") for obj, row_id in rows), now
    )
    _keep(connection, "reject", decision, decided, now)
    return decided


def _choose(connection: duckdb.DuckDBPyConnection, catalog: Catalog, decision: Decision) -> list[Decided]:
    """Temp table ``chosen (territory, object, row_id)``: rows whose own reading is held."""
    territories = resolve_territories(connection, decision.territories, None)
    if decision.object is not None and decision.object not in catalog:
        known = ", ".join(obj.name for obj in catalog.served)
        raise NothingHeldError(f"There is no object {decision.object}; there are {known}.")
    connection.execute(statement("choose_held"), {"territories": territories or None, "object": decision.object})
    rows = connection.execute(
        "SELECT territory, name, count(*) FROM chosen LEFT JOIN territory USING (territory) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    if not rows:
        held = connection.execute(statement("held_summary")).fetchall()
        if not held:
            raise NothingHeldError("Nothing is held.")
        what = ", ".join(f"{obj} in {name}" for name, obj in held)
        raise NothingHeldError(f"No reading is held there. Held are: {what}; what hangs on them follows.")
    return [Decided(*row) for row in rows]


def _keep(
    connection: duckdb.DuckDBPyConnection, name: str, decision: Decision, decided: Sequence[Decided], now: datetime
) -> None:
    everywhere = scalar(connection, "SELECT count(DISTINCT (object, row_id)) FROM chosen")
    parts = [(one.territory, one.rows) for one in decided] if decision.territories else [(None, everywhere)]
    connection.executemany(
        "INSERT INTO guard_decision (decided_at, decision, territory, object, rows, reason, decided_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            [now, name, territory, decision.object, rows, decision.reason.strip(), decision.decided_by]
            for territory, rows in parts
        ],
    )
