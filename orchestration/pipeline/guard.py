"""The guard: losses that may be a fault of the CRM's answer are held beyond a share; everything else is published.

What a doubtful reading would take from a territory is the difference of two derivations, one without such readings and
one with them: so children need no rule of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog
from orchestration.pipeline.evidence import accept, drop_proven_links, now_proven
from orchestration.pipeline.schema import MOVED, UNKNOWN_TARGET, UNLINKED, snapshot_table
from orchestration.pipeline.visibility import derive_visibility, objects_in
from orchestration.pipeline.warehouse import newest_seq, scalar, statement

DOUBTFUL = "doubtful"
KINDS = {MOVED: f"evidence = '{MOVED}'", DOUBTFUL: f"evidence <> '{MOVED}'"}
"""What is counted by itself, in the order in which a trial applies it."""


@dataclass(frozen=True)
class Guard:
    """Doubtful losses within the window are held beyond ``max_share`` of a territory's rows, or of all rows.

    ``moved_share`` is the same for proven moves that nobody announced; ``None`` lets them pass.
    """

    max_share: float
    min_rows: int
    window: timedelta = timedelta(hours=24)
    moved_share: float | None = None

    @property
    def holds_moves(self) -> bool:
        return self.moved_share is not None

    @property
    def shares(self) -> dict[str, float]:
        """By what is counted."""
        return {DOUBTFUL: self.max_share} | ({} if self.moved_share is None else {MOVED: self.moved_share})


def has_doubts(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether there is anything that the guard has to look at: seldom."""
    return scalar(connection, "SELECT (SELECT count(*) FROM doubtful_reading) + (SELECT count(*) FROM held_row)") > 0


def accept_proven(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Put readings into the snapshot that what was read since has proven. The caller holds the transaction."""
    waiting = connection.execute(
        "SELECT DISTINCT object FROM doubtful_reading WHERE evidence IN (?, ?)", [UNKNOWN_TARGET, UNLINKED]
    ).fetchall()
    objects = [catalog[name] for (name,) in waiting if name in catalog]
    for obj in objects:
        if obj.links:
            drop_proven_links(connection, obj)
    if objects:
        accept_readings(connection, catalog, " UNION ALL ".join(map(now_proven, objects)))


def is_due(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the set of doubtful readings has changed since the guard last looked at it."""
    return scalar(connection, statement("guard_is_due")) > 0


def doubtful_losses(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> pa.Table:
    """What would leave which territory only because of doubtful readings: kind, territory, object, row_id.

    Worked out by the real derivation, which is then rolled back.
    """
    connection.execute("BEGIN TRANSACTION")
    try:
        seq = newest_seq(connection) + 1
        connection.execute("CREATE OR REPLACE TEMP TABLE changed AS SELECT DISTINCT object, row_id FROM touched")
        derive_visibility(connection, catalog, seq)
        parts = []
        for kind, of_kind in KINDS.items():
            if not accept_readings(connection, catalog, f"SELECT object, row_id FROM doubtful_reading WHERE {of_kind}"):
                continue
            seq += 1
            connection.execute("CREATE OR REPLACE TEMP TABLE changed AS FROM accepted")
            derive_visibility(connection, catalog, seq)
            parts.append(
                connection.sql(
                    "SELECT $kind::VARCHAR AS kind, territory, object, row_id FROM visibility WHERE to_seq = $seq",
                    params={"kind": kind, "seq": seq},
                ).to_arrow_table()
            )
        return pa.concat_tables(parts) if parts else NO_LOSSES
    finally:
        connection.execute("ROLLBACK")


NO_LOSSES = pa.schema([(name, pa.string()) for name in ("kind", "territory", "object", "row_id")]).empty_table()


def decide(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, losses: pa.Table, guard: Guard, now: datetime
) -> None:
    """Hold the readings that cost a territory, or the whole, more than its share; put all others into the snapshot.

    Leaves temp table ``trial_loss``. What is held already stays held as long as it makes a difference.
    """
    connection.register("losses", losses)
    connection.execute("CREATE OR REPLACE TEMP TABLE trial_loss AS FROM losses")
    connection.unregister("losses")
    find_beyond(connection, guard, now)
    connection.execute(statement("hold_readings"), {"now": now})
    for obj in catalog.served:
        connection.execute(
            f"UPDATE {snapshot_table(obj).name} SET _state = 'held' WHERE _state = 'live' AND row_id IN"
            f" (SELECT row_id FROM doubtful_reading WHERE object = '{obj.name}' AND held_since IS NOT NULL)"
        )
    accept_readings(connection, catalog, statement("readings_to_accept"))
    connection.execute("UPDATE doubtful_reading SET weighed = true WHERE NOT weighed")


def find_beyond(connection: duckdb.DuckDBPyConnection, guard: Guard, now: datetime) -> None:
    """Temp table ``beyond (kind, territory)``: where ``trial_loss``, with what the window has, is too much."""
    connection.execute("CREATE OR REPLACE TEMP TABLE beyond (kind VARCHAR, territory VARCHAR)")
    for kind, share in guard.shares.items():
        limits = {"kind": kind, "max_share": share, "min_rows": guard.min_rows, "open": OPEN_SEQ}
        connection.execute(statement("losses_beyond_share"), {**limits, "since": now - guard.window})


def accept_readings(connection: duckdb.DuckDBPyConnection, catalog: Catalog, chosen: str) -> int:
    """Put readings that were set aside into the snapshot; leaves their rows in temp table ``accepted``."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE accepted AS {chosen}")
    for name in objects_in(connection, "accepted"):
        if name in catalog:
            accept(connection, catalog[name])
    # Of objects that the catalog no longer has.
    connection.execute("DELETE FROM doubtful_reading WHERE (object, row_id) IN (SELECT (object, row_id) FROM accepted)")
    return scalar(connection, "SELECT count(*) FROM accepted")


def record_held(connection: duckdb.DuckDBPyConnection, seq: int, now: datetime, *, decided: bool) -> bool:
    """Note what stays because it is held, and what left by doubtful readings.

    Returns whether counts of what is held differ. To be asked after derivation, with temp table ``delta``, and
    ``trial_loss`` where the guard has ``decided``.
    """
    bounds = {"seq": seq, "open": OPEN_SEQ}
    if decided:
        connection.execute(
            "INSERT INTO doubtful_loss SELECT territory, object, row_id, kind, $now, $seq FROM trial_loss"
            " SEMI JOIN (FROM delta WHERE operation = 'delete') AS gone USING (territory, object, row_id)",
            {"now": now, "seq": seq},
        )
        connection.execute(statement("new_held_rows"), {"now": now, "open": OPEN_SEQ})
    else:
        connection.execute(statement("moved_held_rows"))
        if not scalar(connection, "SELECT count(*) FROM moved_held"):
            return False
        connection.execute(statement("follow_held_rows"))
        # Near enough for now; the next derivation works it out.
        connection.execute("UPDATE doubtful_reading SET weighed = false")
    connection.execute("DELETE FROM held_row")
    connection.execute("INSERT INTO held_row BY NAME FROM new_held_row")
    changed = scalar(connection, statement("changed_held_counts"), {"open": OPEN_SEQ})
    if changed:
        connection.execute(statement("close_held_counts"), bounds)
        connection.execute(statement("open_held_counts"), bounds)
    return changed > 0
