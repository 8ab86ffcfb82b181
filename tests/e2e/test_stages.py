"""The stages without Dagster, against the simulator: many more syncs than runs of jobs would allow."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import load_catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.settings import CrmSettings
from orchestration.pipeline.derive import derive
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.ingest import poll
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse, utc_now
from orchestration.settings import PipelineSettings
from tests.e2e.changes import RandomChanges
from tests.e2e.oracle import OBJECTS, Oracle, View
from tests.e2e.system import System, running_system

pytestmark = pytest.mark.e2e

CATALOG = load_catalog()
SYNCS = 60


@dataclass
class Stages:
    """One sync after another in this process."""

    system: System
    crm: CrmClient
    settings: PipelineSettings

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with open_warehouse(self.settings.warehouse_path, CATALOG, 10) as connection:
            yield connection

    def run(self, full_load: bool = False) -> None:
        polled = poll(self.open, self.crm, CATALOG, self.settings, full_load=full_load)
        for obj in CATALOG:
            hydrate(self.open, self.crm, CATALOG, obj)
        hydrate_remaining(self.open, self.crm, CATALOG)
        with self.open() as connection:
            guard = Guard(0.3, 50)
            derive(connection, CATALOG, as_of=polled.watermark, now=utc_now(), guard=guard)

    def views(self) -> tuple[dict[str, View], dict[str, int]]:
        """What each territory sees by the warehouse, and the differences to a recompute."""
        views: dict[str, View] = {}
        with self.open() as connection:
            for territory, obj, row_id, body in connection.execute(
                "SELECT territory, object, row_id, body FROM visibility JOIN row_version AS v USING (object, row_id)"
                " JOIN row_body AS b ON (b.object, b.row_id, b.from_seq) = (object, row_id, v.from_seq)"
                f" WHERE visibility.to_seq = {OPEN_SEQ} AND v.to_seq = {OPEN_SEQ}"
            ).fetchall():
                rows = views.setdefault(territory, {name: {} for name in OBJECTS})[obj]
                rows[row_id] = json.loads(body, parse_float=str, parse_int=str)
            return views, differences(connection)


def test_after_every_sync_the_warehouse_is_what_the_naive_model_says(tmp_path: Path, e2e_seed: int) -> None:
    rng = random.Random(e2e_seed)
    with running_system(tmp_path) as system:
        system.start_crm(80, 5, e2e_seed)
        changes = RandomChanges(system, e2e_seed)
        environment = system.environment | {"CRMOD_SESSIONS": "2"}
        with CrmClient(CrmSettings.from_environment(environment)) as crm:
            stages = Stages(system, crm, PipelineSettings(tmp_path))
            stages.run(full_load=True)
            for number in range(SYNCS):
                kinds = [changes.step() for _ in range(rng.randint(1, 6))]
                system.control("clock", advance_seconds=rng.choice([2, 3, 90, 700]))
                stages.run()
                views, found = stages.views()
                oracle = Oracle(system)
                assert not any(found.values()), (number, kinds, found)
                for territory in changes.territories:
                    expected = oracle.view({territory})
                    got = views.get(territory, {name: {} for name in OBJECTS})
                    for obj, rows in expected.items():
                        assert got[obj] == rows, (number, kinds, territory, obj)
