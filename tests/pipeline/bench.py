"""A CRM in memory and a warehouse on disk, read by the pipeline's own stages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestration.catalog import load_catalog
from orchestration.pipeline.guard import accept_proven
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.ingest import OpenWarehouse, Reconcile, poll
from orchestration.pipeline.warehouse import transaction
from orchestration.settings import PipelineSettings
from tests.pipeline.fake_crm import FakeCrm

CATALOG = load_catalog()
T0 = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)


@dataclass
class Bench:
    crm: FakeCrm
    open: OpenWarehouse
    settings: PipelineSettings

    def put(self, service: str, row_id: str, **fields: object) -> None:
        old = self.crm.tables.setdefault(service, {}).get(row_id, {"ModId": 0})
        self.crm.tables[service][row_id] = old | fields | {"ModId": old["ModId"] + 1, "ModifiedDate": self.crm.now}

    def event(self, name: str, service: str, row_id: str, child_id: str | None = None) -> None:
        log = self.crm.tables.setdefault("ModificationTracking", {})
        log[f"E{len(log):05}"] = {
            "ObjectName": service, "ObjectId": row_id, "ChildName": None, "ChildId": child_id,
            "EventName": name, "ModificationNumber": 1, "ModifiedDate": self.crm.now,
        }  # fmt: skip

    def later(self) -> None:
        self.crm.now += timedelta(minutes=1)

    def load(self) -> None:
        with self.open():
            poll(self.open, self.crm, CATALOG, self.settings, full_load=True)
            self.hydrate()

    def sync(self, reconcile: Reconcile = "none") -> None:
        self.later()
        with self.open():
            poll(self.open, self.crm, CATALOG, self.settings, reconcile=reconcile)
            self.hydrate()

    def hydrate(self) -> None:
        for obj in CATALOG:
            hydrate(self.open, self.crm, CATALOG, obj)
        hydrate_remaining(self.open, self.crm, CATALOG)
        with self.open() as connection, transaction(connection):
            accept_proven(connection, CATALOG)

    def doubtful(self) -> dict[str, str]:
        """Evidence of the readings that were set aside, by row."""
        return dict(self.query("SELECT row_id, evidence FROM doubtful_reading"))

    def states(self, obj: str) -> dict[str, str]:
        return dict(self.query(f'SELECT row_id, _state FROM snapshot."{obj}"'))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.open() as connection:
            return connection.execute(sql).fetchall()
