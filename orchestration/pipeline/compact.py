"""Forget what is older than the horizons, without changing an answer inside them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from orchestration.pipeline.migrate import forget_retired
from orchestration.pipeline.warehouse import read_state, scalar, statement, transaction, write_state


@dataclass(frozen=True)
class Retention:
    """How long things are kept."""

    history_days: int = 400
    """Cursors this old get exact deltas."""
    body_hours: int = 48
    """Superseded contents, so that pages fixed to an older publication stay readable."""
    source_days: int = 60
    """Events, raw payloads, and quarantined rows."""


@dataclass(frozen=True)
class Horizons:
    """Publications: views before ``history_seq``, and superseded bodies before ``body_seq``, are forgotten."""

    history_seq: int
    body_seq: int


def compact(connection: duckdb.DuckDBPyConnection, retention: Retention, now: datetime) -> Horizons:
    """Fold the warehouse's history; returns the horizons, which the delta store must follow. ``now`` is UTC."""
    with transaction(connection):
        horizons = Horizons(
            _horizon(connection, "horizon_seq", now - timedelta(days=retention.history_days)),
            _horizon(connection, "body_horizon_seq", now - timedelta(hours=retention.body_hours)),
        )
        bounds = {"horizon": horizons.history_seq}
        for table in ("visibility", "row_version"):
            connection.execute(f"DELETE FROM {table} WHERE to_seq <= $horizon", bounds)
        connection.execute("DELETE FROM territory_delta WHERE seq <= $horizon", bounds)
        connection.execute("DELETE FROM publication WHERE seq < $horizon", bounds)
        connection.execute("DELETE FROM territory_head WHERE to_seq <= ?", [horizons.body_seq])
        connection.execute("DELETE FROM territory_held WHERE to_seq <= ?", [horizons.body_seq])
        connection.execute(statement("delete_superseded_bodies"), {"horizon": horizons.body_seq})
        forget_retired(connection)
        source_cutoff = now - timedelta(days=retention.source_days)
        for table, column in (
            ("modification_records", "modified_date"),
            ("raw_payloads", "read_at"),
            ("quarantine", "seen_at"),
            ("read_windows", "read_at"),
            ("deleted_items", "deleted_at"),
            ("doubtful_loss", "lost_at"),
        ):
            connection.execute(f"DELETE FROM {table} WHERE {column} < ?", [source_cutoff])
    connection.execute("CHECKPOINT")
    return horizons


def _horizon(connection: duckdb.DuckDBPyConnection, name: str, cutoff: datetime) -> int:
    """The last publication before the cutoff, remembered; a horizon never goes back."""
    seq = scalar(connection, "SELECT coalesce(max(seq), 0) FROM publication WHERE published_at <= ?", [cutoff])
    seq = max(seq, int(read_state(connection, name) or 0))
    write_state(connection, name, str(seq))
    return seq
