"""A re-alignment before anybody does it in the CRM: what it would move, and how the mass-delete guard learns of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import Catalog
from orchestration.pipeline.alignment_file import Move, aligned_object
from orchestration.pipeline.guard import DOUBTFUL, Guard, find_beyond
from orchestration.pipeline.markdown import table_lines
from orchestration.pipeline.schema import MOVED, quoted, snapshot_table
from orchestration.pipeline.visibility import derive_visibility
from orchestration.pipeline.warehouse import newest_seq, statement, transaction


@dataclass(frozen=True)
class Effect:
    """What a re-alignment does to one object in one territory: rows, and bytes of JSON that devices will fetch."""

    territory: str
    object: str
    enter_rows: int
    enter_bytes: int
    leave_rows: int


@dataclass(frozen=True)
class Verdict:
    """What the guard would make of a re-alignment in one territory; counts of rows, children included."""

    territory: str
    rows: int
    leave_rows: int
    held_by: str | None
    """The setting that would hold them; None if they pass."""

    @property
    def share(self) -> float:
        return self.leave_rows / self.rows if self.rows else 0.0


def dry_run(connection: duckdb.DuckDBPyConnection, catalog: Catalog, moves: Sequence[Move]) -> list[Effect]:
    """What the moves would do, worked out by the real derivation and then rolled back."""
    connection.execute("BEGIN TRANSACTION")
    try:
        seq = newest_seq(connection) + 1
        _move(connection, catalog, moves, seq)
        return [Effect(*row) for row in connection.execute(statement("alignment_effects"), {"seq": seq}).fetchall()]
    finally:
        connection.execute("ROLLBACK")


def judge(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, moves: Sequence[Move], guard: Guard, now: datetime
) -> list[Verdict]:
    """Whether the guard would hold the moves, by the same rules: those to no territory look like a lost access."""
    connection.execute("BEGIN TRANSACTION")
    try:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE trial_loss (kind VARCHAR, territory VARCHAR, object VARCHAR, row_id VARCHAR)"
        )
        parts = {MOVED: [m for m in moves if m.target], DOUBTFUL: [m for m in moves if not m.target]}
        for seq, (kind, part) in enumerate(parts.items(), newest_seq(connection) + 1):
            _move(connection, catalog, part, seq)
            connection.execute(
                "INSERT INTO trial_loss SELECT ?, territory, object, row_id FROM visibility WHERE to_seq = ?",
                [kind, seq],
            )
        find_beyond(connection, guard, now)
        found = connection.execute(statement("alignment_verdicts"), {"open": OPEN_SEQ}).fetchall()
    finally:
        connection.execute("ROLLBACK")
    settings = {MOVED: "DELTA_GUARD_MOVED_SHARE", DOUBTFUL: "DELTA_GUARD_MAX_SHARE"}
    return [Verdict(name, rows, leave, settings.get(kind)) for name, rows, leave, kind in found]


def _move(connection: duckdb.DuckDBPyConnection, catalog: Catalog, moves: Sequence[Move], seq: int) -> None:
    """Derive publication ``seq`` as if the accounts had moved. The caller rolls it back."""
    connection.execute("CREATE OR REPLACE TEMP TABLE move (row_id VARCHAR, target VARCHAR)")
    if moves:
        connection.executemany("INSERT INTO move VALUES (?, ?)", [[move.account, move.target] for move in moves])
    root, field = aligned_object(catalog)
    connection.execute(
        f"UPDATE {snapshot_table(root).name} AS row SET {quoted(field)} = move.target"
        " FROM move WHERE row.row_id = move.row_id"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE changed AS SELECT $object AS object, row_id FROM move", {"object": root.name}
    )
    derive_visibility(connection, catalog, seq)


def announce(connection: duckdb.DuckDBPyConnection, moves: Sequence[Move], reason: str, now: datetime) -> None:
    """Let these moves, and all that hangs on the accounts, pass the mass-delete guard when they come."""
    with transaction(connection):
        connection.executemany(
            "INSERT INTO announced_move (row_id, source, target, announced_at, reason) VALUES (?, ?, ?, ?, ?)",
            [[move.account, move.source, move.target, now, reason] for move in moves if move.source],
        )


def as_markdown(effects: Sequence[Effect], verdicts: Sequence[Verdict], *, announced: bool) -> str:
    """Rows and bytes for each territory and object; then what the guard would do."""
    rows = [(e.territory, e.object, e.enter_rows, e.enter_bytes, e.leave_rows) for e in effects]
    territories = len({effect.territory for effect in effects})
    entering, size = sum(e.enter_rows for e in effects), sum(e.enter_bytes for e in effects)
    leaving = sum(e.leave_rows for e in effects)
    total = f"{territories} territories: {entering} rows ({size} bytes) enter, {leaving} leave."
    held = [verdict for verdict in verdicts if verdict.held_by]
    guard = "The guard would hold nothing of this: it can be done at once."
    if held and announced:
        guard = "The guard would hold rows of this, but for the announcement."
    elif held:
        guard = f"The guard would hold rows of {len(held)} territories: announce the alignment before it is done."
    shares = [(v.territory, v.leave_rows, v.rows, f"{v.share:.0%}", v.held_by or "no") for v in verdicts]
    moved = table_lines("territory|object|rows in|bytes in|rows out", rows)
    return "\n".join([total, "", *moved, "", guard, "", *table_lines("territory|rows out|of|share|held by", shares)])
