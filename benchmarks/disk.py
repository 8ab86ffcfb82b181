"""``disk``: what a month of a publication each 15 s, 200 changed rows each, leaves on disk, with retention as shipped.

A month is simulated on size S with fewer publications a day, and a compaction each night. All that is kept (for 48
hours, 60 days or 400 days) grows with the number of publications in that time, so growth at the full rate is the
growth measured, times the rate left out. Two rates are simulated to show whether that holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from benchmarks.changes import change_some
from benchmarks.data import CATALOG, NO_GUARD, NOW, SMALL, Stores, published
from benchmarks.results import Measurement
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.derive import derive
from orchestration.pipeline.replicate import replicate

DAYS = 30
FULL_RATE_A_DAY = 24 * 3600 // 15
RATES_A_DAY = (6, 12)
MOVED_ACCOUNTS = 6
FILES = ("warehouse.duckdb", "delta.sqlite")
MIB = 2**20


@dataclass(frozen=True)
class Month:
    """Sizes in bytes, by file: at first, and after each day's compaction."""

    before: dict[str, int]
    by_day: list[dict[str, int]]

    def growth(self, file: str) -> int:
        return self.by_day[-1][file] - self.before[file]


def disk() -> list[Measurement]:
    """A month at each rate; growth a publication; what that comes to at the full rate."""
    found: list[Measurement] = []
    months = {rate: _simulate(rate) for rate in RATES_A_DAY}
    slow, fast = months.values()
    publications = max(RATES_A_DAY) * DAYS
    for file in FILES:
        sizes = [day[file] / MIB for day in fast.by_day[9::10]]
        found.append(Measurement(f"{file} after 10, 20, 30 days at {max(RATES_A_DAY)} a day", "MiB", sizes, "", []))
        linear = fast.growth(file) / slow.growth(file)
        found.append(Measurement(f"{file}: growth at twice the rate, by that at once", "x", [linear], "", []))
        each = fast.growth(file) / publications
        found.append(Measurement(f"{file}: growth a publication", "KiB", [each / 1024], "", []))
        full = each * FULL_RATE_A_DAY * DAYS / 2**30
        what = f"{file}: growth in a month at {FULL_RATE_A_DAY} a day (extrapolated)"
        found.append(Measurement(what, "GiB", [full], "", []))
    return found


def _simulate(rate: int) -> Month:
    number = 0
    with published(SMALL) as stores:
        before = _sizes(stores)
        by_day = []
        for day in range(DAYS):
            for time in range(rate):
                number += 1
                now = NOW + timedelta(days=day, seconds=time * 86400 // rate + 1)
                _one_sync(stores.warehouse, number, now)
                derive(stores.warehouse, CATALOG, as_of=now, now=now, guard=NO_GUARD)
                replicate(stores.warehouse, CATALOG, stores.writer)
            horizons = compact(stores.warehouse, Retention(), NOW + timedelta(days=day + 1))
            stores.writer.prune(horizons.history_seq, horizons.body_seq)
            by_day.append(_sizes(stores))
        return Month(before, by_day)


def _one_sync(connection: duckdb.DuckDBPyConnection, number: int, now: datetime) -> None:
    """200 contacts get another text and six accounts another territory, with what reading them leaves behind."""
    change_some(connection, number)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE moving AS SELECT * REPLACE ("
        " (SELECT row_id FROM snapshot.territory ORDER BY hash(row_id, $number) LIMIT 1) AS TerritoryId)"
        f" FROM snapshot.account ORDER BY hash(row_id, $number) LIMIT {MOVED_ACCOUNTS}",
        {"number": number},
    )
    connection.execute("DELETE FROM snapshot.account WHERE row_id IN (SELECT row_id FROM moving)")
    connection.execute("INSERT INTO snapshot.account FROM moving")
    connection.execute("INSERT INTO touched SELECT 'account', row_id FROM moving")
    for obj, rows in (("contact", "changing"), ("account", "moving")):
        connection.execute(
            f"INSERT INTO raw_payloads SELECT '{obj}', row_id, $now, to_json({rows}) FROM {rows}", {"now": now}
        )
        connection.execute(
            "INSERT INTO modification_records SELECT"
            f" 'ADEL2-' || to_base(($number * 1000 + row_number() OVER ())::BIGINT, 36), '{obj}', row_id, NULL, NULL,"
            f" 'WriteRecordUpdated', $number, $now, $now FROM {rows}",
            {"now": now, "number": number},
        )
    connection.execute("INSERT INTO read_windows VALUES ($now, $now, 206, 206, $now)", {"now": now})


def _sizes(stores: Stores) -> dict[str, int]:
    """Of the files as they stand after a checkpoint; logs, which do not grow, apart."""
    stores.warehouse.execute("CHECKPOINT")
    return {file: (stores.folder / file).stat().st_size for file in FILES}
