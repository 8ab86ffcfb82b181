"""Compaction deletes history beyond the horizons and changes no answer inside them."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import duckdb

from delta_service.store.writer import DeltaStoreWriter
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse
from tests.pipeline.histories import DAYS, START, change_one_day
from tests.pipeline.snapshot_rows import CATALOG
from tests.pipeline.store_tables import store_equals

View = set[tuple[str, str, int]]


def view(connection: duckdb.DuckDBPyConnection, seq: int) -> View:
    return set(
        connection.execute(
            "SELECT territory, row_id, version FROM visibility AS seen JOIN row_version AS v USING (object, row_id)"
            " WHERE seen.from_seq <= $seq AND seen.to_seq > $seq AND v.from_seq <= $seq AND v.to_seq > $seq",
            {"seq": seq},
        ).fetchall()
    )


def test_compaction_keeps_all_views_inside_the_horizon(tmp_path: Path) -> None:
    rng = random.Random(3)
    with (
        open_warehouse(tmp_path / "warehouse.duckdb", CATALOG, 1) as connection,
        DeltaStoreWriter(tmp_path / "delta.sqlite") as writer,
    ):
        for day in range(DAYS):
            change_one_day(connection, rng, day)
            replicate(connection, CATALOG, writer)
        seqs = [row[0] for row in connection.execute("SELECT seq FROM publication ORDER BY seq").fetchall()]
        before = {seq: view(connection, seq) for seq in seqs}
        intervals = connection.execute("SELECT count(*) FROM visibility").fetchall()[0][0]

        now = START + timedelta(days=DAYS)
        horizons = compact(connection, Retention(history_days=30, body_hours=48), now)
        writer.prune(horizons.history_seq, horizons.body_seq)

        assert 0 < horizons.history_seq < horizons.body_seq < seqs[-1]
        for seq in seqs:
            if seq >= horizons.history_seq:
                assert view(connection, seq) == before[seq]
        assert connection.execute("SELECT count(*) FROM visibility").fetchall()[0][0] < intervals
        assert not any(differences(connection).values())
        bodies = connection.execute(
            "SELECT count(*) FROM row_version ANTI JOIN row_body USING (object, row_id, from_seq) WHERE to_seq > ?",
            [horizons.body_seq],
        ).fetchall()
        assert bodies == [(0,)]
        assert store_equals(connection, tmp_path / "delta.sqlite")

        change_one_day(connection, rng, DAYS)
        assert not replicate(connection, CATALOG, writer).full_copy
        assert store_equals(connection, tmp_path / "delta.sqlite")
        again = compact(connection, Retention(history_days=400), now)
        assert again.history_seq == horizons.history_seq
