"""A pipeline over a CRM in memory, from event to publication, whose tables are compared with a recompute each time."""

from __future__ import annotations

import atexit
import copy
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from delta_service.store.changes import OPEN_SEQ
from orchestration.catalog import load_catalog
from orchestration.pipeline.derive import PublicationResult, derive, read_as_of
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.hydrate import hydrate, hydrate_remaining
from orchestration.pipeline.ingest import Reconcile, poll
from orchestration.pipeline.requests import ReadRequest, store_requests
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import utc_now
from orchestration.settings import PipelineSettings
from tests.pipeline.fake_crm import FakeCrm
from tests.pipeline.opened import OpenedOnce

CATALOG = load_catalog()
START = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)
ACCOUNTS = 20
"""In each territory; with an order for each, it has 40 rows."""
GUARD = Guard(max_share=0.3, min_rows=5)


class GuardedPipeline:
    """Territories T1, T2 and T3, each with accounts ``<territory>-<n>``; an order ``O-<account>`` hangs on each."""

    def __init__(self, home: Path, guard: Guard = GUARD, *, copied: bool = True) -> None:
        """A copy of one that has loaded everything, unless it is made to be that one."""
        self.settings, self.guard = PipelineSettings(home), guard
        self.crm = FakeCrm(START)
        self.now = utc_now()
        self.open = OpenedOnce(self.settings.warehouse_path, CATALOG)
        if copied:
            warehouse, crm = _loaded()
            home.mkdir(exist_ok=True)
            shutil.copy(warehouse, self.settings.warehouse_path)
            self.crm = copy.deepcopy(crm)
            return
        self.crm.tables = {
            "Territory": {t: {"TerritoryName": f"North {t}", "ModifiedDate": START} for t in ("T1", "T2", "T3")},
            "ModificationTracking": {},
        }
        for territory in ("T1", "T2", "T3"):
            for number in range(ACCOUNTS):
                account = f"{territory}-{number:02}"
                self.put("Account", account, AccountName=f"Clinic {account}", TerritoryId=territory)
                self.put("Order", f"O-{account}", BusinessAccountId=account)
        self.run(full_load=True)

    def put(self, service: str, row_id: str, **fields: object) -> None:
        old = self.crm.tables.setdefault(service, {}).get(row_id, {"ModId": 0})
        changed = old | fields | {"ModId": int(str(old["ModId"])) + 1, "ModifiedDate": self.crm.now}
        self.crm.tables[service][row_id] = changed

    def tell(self, service: str, row_ids: Iterable[str], event: str = "WriteRecordUpdated") -> None:
        log = self.crm.tables["ModificationTracking"]
        for row_id in row_ids:
            log[f"E{len(log):05}"] = {
                "ObjectName": service, "ObjectId": row_id, "ChildName": None, "ChildId": None,
                "EventName": event, "ModificationNumber": 1, "ModifiedDate": self.crm.now,
            }  # fmt: skip

    def move(self, accounts: Iterable[str], territory: str | None) -> None:
        for account in accounts:
            self.put("Account", account, TerritoryId=territory)
            self.tell("Account", [account])

    def hide(self, service: str, row_ids: Iterable[str]) -> dict[str, dict[str, object]]:
        """Rows the user sees no more; an event makes each of them be read."""
        hidden = {row_id: self.crm.tables[service].pop(row_id) for row_id in list(row_ids)}
        self.tell(service, hidden)
        return hidden

    def ask(self, obj: str, row_ids: Iterable[str]) -> None:
        """Have rows read by the next sync although no event tells of them."""
        with self.open() as connection:
            store_requests(connection, [ReadRequest.row(obj, row_id, "a test") for row_id in row_ids], utc_now())

    def run(self, reconcile: Reconcile = "none", *, full_load: bool = False) -> PublicationResult | None:
        """Poll, read, publish; then what was published step by step must equal a recompute."""
        self.crm.now += timedelta(minutes=1)
        crm: Any = self.crm
        with self.open():
            poll(self.open, crm, CATALOG, self.settings, reconcile=reconcile, full_load=full_load)
            return self.read_and_publish()

    def read_and_publish(self) -> PublicationResult | None:
        crm: Any = self.crm
        for obj in CATALOG:
            hydrate(self.open, crm, CATALOG, obj, hold_moves=self.guard.holds_moves)
        hydrate_remaining(self.open, crm, CATALOG, hold_moves=self.guard.holds_moves)
        return self.publish()

    def publish(self) -> PublicationResult | None:
        with self.open() as connection:
            as_of = read_as_of(connection)
            result = derive(connection, CATALOG, as_of=as_of, now=self.now, guard=self.guard)
            found = differences(connection)
            assert not any(found.values()), found
        return result

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.open() as connection:
            return connection.execute(sql).fetchall()

    def visible(self, territory: str, obj: str = "account") -> set[str]:
        return {
            str(row[0])
            for row in self.query(
                f"SELECT row_id FROM visibility WHERE to_seq = {OPEN_SEQ}"
                f" AND territory = '{territory}' AND object = '{obj}'"
            )
        }

    def held(self) -> dict[str, str | None]:
        """Row and why its own reading is held, if it is."""
        return dict(self.query("SELECT row_id, evidence FROM held_row"))

    def held_counts(self) -> dict[tuple[str, str], int]:
        rows = self.query(f"SELECT territory, object, rows FROM territory_held WHERE to_seq = {OPEN_SEQ}")
        return {(territory, obj): rows for territory, obj, rows in rows}


@cache
def _loaded() -> tuple[Path, FakeCrm]:
    """The warehouse and the CRM that the pipelines of this process are copied from."""
    home = Path(tempfile.mkdtemp(prefix="loaded-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    made = GuardedPipeline(home, copied=False)
    return made.settings.warehouse_path, made.crm


def accounts(territory: str, numbers: Iterable[int]) -> list[str]:
    return [f"{territory}-{number:02}" for number in numbers]


def orders(account_ids: Iterable[str]) -> list[str]:
    return [f"O-{account}" for account in account_ids]
