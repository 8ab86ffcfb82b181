"""Forgetting history: no view at or after the horizon changes, no page fixed after the body horizon loses a body."""

from __future__ import annotations

from delta_service.store.engine import WriteConnection

# The horizons rise in the same transaction, before anything goes: a reader never meets a hole it was not told of.
RAISE_HORIZONS = """UPDATE meta SET
    horizon_seq = CASE WHEN horizon_seq < :horizon THEN :horizon ELSE horizon_seq END,
    body_horizon_seq = CASE WHEN body_horizon_seq < :body_horizon THEN :body_horizon ELSE body_horizon_seq END"""
READ_HORIZONS = "SELECT horizon_seq, body_horizon_seq FROM meta"

DROP_BODIES = """DELETE FROM row_body WHERE body_key IN
    (SELECT body_key FROM row_version WHERE to_seq > :kept_from AND to_seq <= :body_horizon)"""
FORGET_BODIES = """UPDATE row_version SET body_key = NULL
    WHERE to_seq > :kept_from AND to_seq <= :body_horizon AND body_key IS NOT NULL"""
DROP_HEADS = """DELETE FROM head WHERE seq < :body_horizon AND EXISTS
    (SELECT 1 FROM head AS newer WHERE newer.territory = head.territory AND newer.object = head.object
       AND newer.seq > head.seq AND newer.seq <= :body_horizon)"""

# Of an interval that has ended, touched_seq is the end: the index finds it.
DROP_VISIBILITY = """DELETE FROM visibility WHERE territory IN (SELECT key FROM territory)
    AND touched_seq <= :horizon AND to_seq <= :horizon"""
NOTE_ENDED_ROWS = "CREATE TEMP TABLE pruned_row AS SELECT DISTINCT row_key FROM row_version WHERE to_seq <= :horizon"
DROP_VERSIONS = "DELETE FROM row_version WHERE to_seq <= :horizon"
DROP_ROWS = """DELETE FROM row WHERE key IN (SELECT row_key FROM pruned_row)
    AND NOT EXISTS (SELECT 1 FROM row_version WHERE row_version.row_key = row.key)
    AND NOT EXISTS (SELECT 1 FROM visibility WHERE visibility.row_key = row.key)"""
DROP_NOTE = "DROP TABLE pruned_row"
# The horizon's own publication stays: times resolve to it.
DROP_PUBLICATIONS = "DELETE FROM publication WHERE seq < :horizon"


def prune_history(connection: WriteConnection, horizon_seq: int, body_horizon_seq: int) -> None:
    """Prune inside the caller's transaction. ``horizon_seq <= body_horizon_seq``."""
    _, kept_from = connection.execute(READ_HORIZONS).get
    connection.execute(RAISE_HORIZONS, {"horizon": horizon_seq, "body_horizon": body_horizon_seq})
    horizon, body_horizon = connection.execute(READ_HORIZONS).get
    bounds = {"horizon": horizon, "body_horizon": body_horizon, "kept_from": kept_from}
    for statement in (
        DROP_BODIES, FORGET_BODIES, DROP_HEADS,
        DROP_VISIBILITY, NOTE_ENDED_ROWS, DROP_VERSIONS, DROP_ROWS, DROP_NOTE, DROP_PUBLICATIONS,
    ):  # fmt: skip
        connection.execute(statement, bounds)
