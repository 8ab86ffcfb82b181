"""What must be true of the data: cheap checks inside the hot path, which block it, and full comparisons nightly.

A publication that fails a check stays unchecked, and is looked at again by each following run: nothing goes to devices
past it.
"""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg
import duckdb

from delta_service.store.changes import OPEN_SEQ
from delta_service.store.errors import StoreDamagedError
from delta_service.store.reader import DeltaStoreReader, reading
from orchestration.advice import advised
from orchestration.assets.held import nothing_held, tell_held
from orchestration.assets.policy import WRITER_POOL
from orchestration.pipeline.derive import PublicationResult, derive, read_as_of
from orchestration.pipeline.verify import body_differences, differences, head_differences, row_differences
from orchestration.pipeline.warehouse import newest_seq, read_state, scalar, statement, utc_now, write_state
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import asset_key

UNREAD_WARN = timedelta(days=7)
UNREAD_FAIL = timedelta(days=21)
"""The CRM forgets events after 30 days."""
TERRITORIES_SAMPLED = 20

KEEP_AND_RESTORE = (
    "Devices keep what they have. Keep a copy of warehouse.duckdb for whoever maintains the program, then restore the"
    " last backup; without one, move the file away and run full_load."
)
COPY_AGAIN = "Run rebuild_delta_store, then verify. If it fails again, see that nothing else writes the delta store."
READ_NOW = "Run census now, and find out why the sensor did not run: is the daemon up, is crm_changes switched on?"

READ_IN_TIME = dg.AssetCheckSpec(
    "read_in_time",
    asset=asset_key("modification_records"),
    description="How long the event log had not been read: it warns at 7 days and fails at 21, as the log ends at 30.",
)
ROWS_HAVE_BODIES = dg.AssetCheckSpec(
    "visible_rows_have_a_body",
    asset=asset_key("territory_deltas"),
    blocking=True,
    description="Every row that the publication shows to a territory has its text.",
)
MOVES_BALANCE = dg.AssetCheckSpec(
    "moves_balance",
    asset=asset_key("territory_deltas"),
    blocking=True,
    description="Rows enter territories they were not in, and leave those they were in.",
)
NO_ORPHANS = dg.AssetCheckSpec(
    "no_orphan_child",
    asset=asset_key("territory_deltas"),
    blocking=True,
    description="Every row that a territory sees belongs to it by itself or through a parent that it sees too.",
)
NO_OVERLAPS = dg.AssetCheckSpec(
    "intervals_do_not_overlap",
    asset=asset_key("territory_deltas"),
    blocking=True,
    description="A territory sees a row once at a time.",
)
STORE_EQUALS_WAREHOUSE = dg.AssetCheckSpec(
    "equals_warehouse",
    asset=asset_key("delta_store"),
    description="The delta store has the warehouse's newest publication, and its sizes and digests of all territories.",
)
PUBLICATION_CHECKS: Mapping[str, dg.AssetCheckSpec] = {
    "visible_without_body": ROWS_HAVE_BODIES,
    "moves_out_of_balance": MOVES_BALANCE,
    "orphans": NO_ORPHANS,
    "overlaps_of_publication": NO_OVERLAPS,
}
"""By the statement that counts what is wrong."""


def read_in_time(unread: timedelta) -> dg.AssetCheckResult:
    """``unread``: age of the watermark when the reading began."""
    severity = dg.AssetCheckSeverity.ERROR if unread >= UNREAD_FAIL else dg.AssetCheckSeverity.WARN
    return _result(
        READ_IN_TIME, unread < UNREAD_WARN, READ_NOW, {"unread_days": unread / timedelta(days=1)}, severity=severity
    )


def publication_checks(connection: duckdb.DuckDBPyConnection) -> list[dg.AssetCheckResult]:
    """The blocking checks of all publications that did not pass them yet, up to the first that fails."""
    known = read_state(connection, "checked_seq")
    # A warehouse from before this was kept: what is published is published.
    checked = max(0, newest_seq(connection) - 1) if known is None else int(known)
    wrong: dict[str, int] = dict.fromkeys(PUBLICATION_CHECKS, 0)
    seq = checked
    # Numbers leave a gap where a backup was restored.
    unchecked = connection.execute("SELECT seq FROM publication WHERE seq > ? ORDER BY seq", [checked]).fetchall()
    for (seq,) in unchecked:
        parameters = {"seq": seq, "open": OPEN_SEQ}
        for name in wrong:
            sql = statement(name)
            used = {key: value for key, value in parameters.items() if f"${key}" in sql}
            wrong[name] = scalar(connection, sql, used)
        if any(wrong.values()):
            break
        checked = seq
    write_state(connection, "checked_seq", str(checked))
    return [
        _result(
            spec,
            not wrong[name],
            f"{wrong[name]} rows of publication {seq} are wrong. {KEEP_AND_RESTORE}",
            {"rows": wrong[name]},
        )
        for name, spec in PUBLICATION_CHECKS.items()
    ]


def require_sound(connection: duckdb.DuckDBPyConnection) -> None:
    """For jobs that publish by themselves: raises ``Failure`` where :func:`publication_checks` would block."""
    wrong = [
        f"{result.check_name}: {result.description}" for result in publication_checks(connection) if not result.passed
    ]
    if wrong:
        raise dg.Failure("\n".join(wrong), allow_retries=False)


def publish_soundly(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    connection: duckdb.DuckDBPyConnection,
    warehouse: WarehouseResource,
) -> PublicationResult | None:
    """For jobs that publish by themselves: derive what was read, and tell what is held.

    ``None`` where nothing changed for any device.
    """
    published = derive_soundly(connection, warehouse)
    tell_held(context, nothing_held(connection))
    return published


def derive_soundly(connection: duckdb.DuckDBPyConnection, warehouse: WarehouseResource) -> PublicationResult | None:
    """Derive what was read; raises ``Failure`` where a check would block it."""
    as_of = read_as_of(connection)
    published = derive(connection, warehouse.catalog, as_of=as_of, now=utc_now(), guard=warehouse.guard)
    require_sound(connection)
    return published


def store_equals_warehouse(connection: duckdb.DuckDBPyConnection, store: DeltaStoreReader) -> dg.AssetCheckResult:
    """To be asked after replication."""
    wrong = head_differences(connection, store)
    return _result(
        STORE_EQUALS_WAREHOUSE, not wrong, f"{wrong} sizes or digests differ. {COPY_AGAIN}", {"wrong": wrong}
    )


@dg.asset_check(asset=asset_key("territory_deltas"), pool=WRITER_POOL)
@advised
def equals_recompute(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """The tables that publications built step by step equal a recompute from the snapshots. Costs a full scan."""
    with warehouse.open() as connection:
        if scalar(connection, "SELECT count(*) FROM touched"):
            return dg.AssetCheckResult(passed=True, description="Changes wait to be published: compare after a sync.")
        found = differences(connection)
    passed = not any(found.values())
    return dg.AssetCheckResult(passed=passed, metadata=dict(found), description=None if passed else KEEP_AND_RESTORE)


@dg.asset_check(asset=asset_key("delta_store"), pool=WRITER_POOL)
@advised
def digests_agree(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Every row's text is that of its version; of some territories, others each time, the rows that devices would get
    add up to the digests they are told. Reads the whole store.
    """
    try:
        with reading(warehouse.settings.delta_store_location) as store:
            wrong_bodies = body_differences(store)
            found = row_differences(store, TERRITORIES_SAMPLED) | {"wrong_bodies": wrong_bodies}
    except StoreDamagedError as error:
        return dg.AssetCheckResult(passed=False, description=f"{error}. {COPY_AGAIN}")
    passed = not (found["wrong"] or wrong_bodies)
    return dg.AssetCheckResult(passed=passed, metadata=dict(found), description=None if passed else COPY_AGAIN)


def _result(
    spec: dg.AssetCheckSpec,
    passed: bool,
    otherwise: str,
    metadata: Mapping[str, float],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed,
        severity=severity,
        asset_key=spec.asset_key,
        check_name=spec.name,
        metadata=dict(metadata),
        description=None if passed else otherwise,
    )
