"""What must be true of the data: cheap checks inside the hot path, which block it, and a full comparison nightly."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.assets.policy import WRITER_POOL
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import scalar, statement
from orchestration.resources.warehouse import WarehouseResource

UNREAD_WARN = timedelta(days=7)
UNREAD_FAIL = timedelta(days=21)
"""The CRM forgets events after 30 days."""

READ_IN_TIME = dg.AssetCheckSpec(
    "read_in_time",
    asset="modification_records",
    description="How long the event log had not been read: it warns at 7 days and fails at 21, as the log ends at 30.",
)
ROWS_HAVE_BODIES = dg.AssetCheckSpec(
    "visible_rows_have_a_body",
    asset="territory_deltas",
    blocking=True,
    description="Every row that the publication shows to a territory has its text.",
)
MOVES_BALANCE = dg.AssetCheckSpec(
    "moves_balance",
    asset="territory_deltas",
    blocking=True,
    description="Rows enter territories they were not in, and leave those they were in.",
)


def read_in_time(unread: timedelta) -> dg.AssetCheckResult:
    """``unread``: age of the watermark when the reading began."""
    severity = dg.AssetCheckSeverity.ERROR if unread >= UNREAD_FAIL else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=unread < UNREAD_WARN,
        severity=severity,
        asset_key=READ_IN_TIME.asset_key,
        check_name=READ_IN_TIME.name,
        metadata={"unread_days": unread / timedelta(days=1)},
        description="Run census now, and find out why the sensor did not run." if unread >= UNREAD_WARN else None,
    )


def publication_checks(connection: duckdb.DuckDBPyConnection, seq: int | None) -> Iterator[dg.AssetCheckResult]:
    """The blocking checks of publication ``seq``; without a publication there is nothing wrong with it."""
    for spec, name, parameters in (
        (ROWS_HAVE_BODIES, "visible_without_body", {"open": OPEN_SEQ}),
        (MOVES_BALANCE, "moves_out_of_balance", {}),
    ):
        wrong = 0 if seq is None else scalar(connection, statement(name), {"seq": seq, **parameters})
        yield dg.AssetCheckResult(
            passed=wrong == 0,
            asset_key=spec.asset_key,
            check_name=spec.name,
            metadata={"rows": wrong},
            description=f"{wrong} rows are wrong: run verify, and keep the warehouse file for a look."
            if wrong
            else None,
        )


@dg.asset_check(asset="territory_deltas", pool=WRITER_POOL)
def equals_recompute(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """The tables that publications built step by step equal a recompute from the snapshots. Costs a full scan."""
    with warehouse.open() as connection:
        if scalar(connection, "SELECT count(*) FROM touched"):
            return dg.AssetCheckResult(passed=True, description="Changes wait to be published: compare after a sync.")
        found = differences(connection)
    return dg.AssetCheckResult(passed=not any(found.values()), metadata=dict(found))
