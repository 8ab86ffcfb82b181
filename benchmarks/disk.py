"""``disk``: what a month of a publication each 15 s, 206 changed rows each, leaves on disk, with retention as shipped.

A month is simulated at small rates, with a compaction each night. All that is kept (for 48 hours, 60 days or 400 days)
grows with the publications in that time, whatever the store's size; what is there only once (rows, indexes, pages left
half empty by changes) does not. So size after a month is a sum, a + b x rate: the two largest rates give both, the
smallest one shows whether it holds, and b x 5,760 is what the full rate leaves. The store is small, so that each row
changes many times, as it would at the full rate.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb

from benchmarks.changes import change_some
from benchmarks.data import CATALOG, NO_GUARD, NOW, Size, Stores, published
from benchmarks.results import Measurement
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.derive import derive
from orchestration.pipeline.replicate import replicate

DAYS = 30
FULL_RATE_A_DAY = 24 * 3600 // 15
RATES_A_DAY = (4, 8, 16)
TINY = Size("XS", 2_000, 6_000, 10_000, 20)
MOVED_ACCOUNTS = 6
FILES = ("warehouse.duckdb", "delta.sqlite")
MIB = 2**20


def disk() -> list[Measurement]:
    """Sizes at each rate, by file; what a publication leaves; what that comes to at the full rate."""
    found: list[Measurement] = []
    months = {rate: simulate(rate) for rate in RATES_A_DAY}
    for file in FILES:
        for rate, days in months.items():
            sizes = [day[file] / MIB for day in days[9::10]]
            found.append(Measurement(f"{file} after 10, 20, 30 days at {rate} a day", "MiB", sizes, "", []))
        small, middle, large = ((rate, days[-1][file]) for rate, days in months.items())
        by_rate = (large[1] - middle[1]) / (large[0] - middle[0])
        once = large[1] - by_rate * large[0]
        fits = (once + by_rate * small[0]) / small[1]
        found.append(Measurement(f"{file}: the fit at {small[0]} a day, by the size there", "x", [fits], "", []))
        found.append(Measurement(f"{file}: what a publication leaves", "KiB", [by_rate / DAYS / 1024], "", []))
        what = f"{file}: growth in a month at {FULL_RATE_A_DAY} a day (extrapolated)"
        found.append(Measurement(what, "GiB", [by_rate * FULL_RATE_A_DAY / 2**30], "", []))
    return found


def simulate(rate: int) -> list[dict[str, int]]:
    """Sizes in bytes, by file, after each day's compaction."""
    number = 0
    by_day = []
    with published(TINY) as stores:
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
    return by_day


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
