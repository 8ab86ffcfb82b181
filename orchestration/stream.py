"""Stream mode: one resident run that polls every second or two, instead of a run for each change.

It does what ``sync`` does, step by step, without the seconds that a run takes to start. It ends by itself, so that its
page stays readable and new code comes in, and at once when another run waits for the warehouse; the sensor then
launches the next. Killed, it loses nothing: the next run goes on from the committed watermark, like any.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

import dagster as dg
import duckdb

from orchestration.advice import advised
from orchestration.assets.checks import derive_soundly
from orchestration.assets.held import nothing_held, tell_held
from orchestration.assets.policy import PUBLICATION_TAG, WRITER_POOL
from orchestration.assets.presentation import Metadata, numbers, of_delta_store, of_poll, of_publication, of_snapshot
from orchestration.catalog import TERRITORY
from orchestration.due import LastPoll, SensorState, due_by_probe, due_by_untracked, due_without_asking
from orchestration.partitions import keep_in_step, partition_key
from orchestration.pipeline.derive import read_as_of
from orchestration.pipeline.hydrate import HydrationResult, hydrate, hydrate_remaining
from orchestration.pipeline.ingest import poll
from orchestration.pipeline.replicate import replicate, served_territories
from orchestration.pipeline.warehouse import utc_now
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import RUN_TAGS, asset_key, own_runs
from orchestration.tracing import publication_timings, trace_publications

MOST_FINDS = 300
"""A run ends after so many syncs that found something: its page is to stay readable."""
RECORD_SECONDS = 60
"""A sync that found nothing is recorded at most so often."""


@dg.op(pool=WRITER_POOL)
@advised
def follow_crm(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, crm: CrmResource, delta_store_file: DeltaStoreResource
) -> None:
    """Sync again and again, each time that the CRM has something new, until it is time to end."""
    settings = warehouse.settings
    ends_at = time.monotonic() + settings.stream_minutes * 60
    follower = Follower(context, warehouse, crm, delta_store_file)
    why = f"{settings.stream_minutes:g} minutes are over"
    while time.monotonic() < ends_at:
        if waiting := runs_waiting(context.instance):
            why = f"the warehouse is wanted by {', '.join(waiting)}"
            break
        if follower.finds >= MOST_FINDS:
            why = f"it has found something {follower.finds} times"
            break
        if reason := follower.due():
            follower.sync(reason)
        time.sleep(settings.stream_poll_seconds)
    context.log.info("The stream ends: %s. The sensor launches the next.", why)


@dg.job(
    tags=RUN_TAGS,
    description="Stream mode (SYNC_MODE=stream): a resident sync that polls every two seconds, ends by itself after 15"
    " minutes, and makes way for any run that waits for the warehouse. The sensor launches it.",
)
def stream() -> None:
    follow_crm()


def runs_waiting(instance: dg.DagsterInstance) -> list[str]:
    """Jobs of runs that are queued and need the warehouse."""
    queued = instance.get_runs(own_runs(statuses=[dg.DagsterRunStatus.QUEUED]))
    return sorted({run.job_name for run in queued if _needs_warehouse(run)})


def _needs_warehouse(run: dg.DagsterRun) -> bool:
    pools = run.run_op_concurrency.all_pools if run.run_op_concurrency else None
    return pools is None or WRITER_POOL in pools


class Follower:
    """What a stream knows between two polls."""

    def __init__(
        self,
        context: dg.OpExecutionContext,
        warehouse: WarehouseResource,
        crm: CrmResource,
        delta_store_file: DeltaStoreResource,
    ) -> None:
        self._context, self._warehouse, self._crm, self._store = context, warehouse, crm, delta_store_file
        self._last: LastPoll | None = None
        self._state = SensorState()
        self._recorded_at = 0.0
        self._told_held = False
        self.finds = 0
        """Syncs that found something."""

    def due(self) -> str | None:
        """The reason for a sync now, if there is one."""
        if self._last is None:
            return "the stream begins"
        now = datetime.now(UTC)
        by_clock = due_without_asking(self._last, now, self._warehouse.settings)
        if by_clock is not None:
            return by_clock[1]
        reason = due_by_probe(self._crm.client, self._last)
        if reason is None:
            untracked = due_by_untracked(self._crm.client, self._warehouse.catalog, self._last, self._state, now)
            reason, self._state = untracked
        return reason

    def sync(self, reason: str) -> None:
        """What a run of ``sync`` does, with the warehouse opened once."""
        catalog, before = self._warehouse.catalog, self._crm.client.operations_spent
        with self._warehouse.open() as connection:

            def opened() -> AbstractContextManager[duckdb.DuckDBPyConnection]:
                return nullcontext(connection)

            polled = poll(opened, self._crm.client, catalog, self._warehouse.settings)
            hold_moves = self._warehouse.guard.holds_moves
            read = {obj.name: hydrate(opened, self._crm.client, catalog, obj, hold_moves=hold_moves) for obj in catalog}
            hydrate_remaining(opened, self._crm.client, catalog, hold_moves=hold_moves)
            published = derive_soundly(connection, self._warehouse)
            held = nothing_held(connection)
            with self._store.writer() as writer:
                replicated = replicate(connection, catalog, writer)
            # Devices can read it now; what follows is for people.
            timings = publication_timings(connection, replicated.published_seq, replicated.applied)
            spent = self._crm.client.operations_spent - before
            deltas = of_publication(connection, published, read_as_of(connection), utc_now())
            records = [_record("modification_records", of_poll(connection, polled, spent))]
            records += [_record(name, of_snapshot(found, 0, {})) for name, found in read.items() if _tells(found)]
            if published:
                records += [_record(name, numbers(published)) for name in ("row_versions", "visibility")]
            records += [_record("territory_deltas", deltas), _record("delta_store", of_delta_store(replicated))]
            keys = [partition_key(*one) for one in served_territories(connection)] if _tells(read[TERRITORY]) else []
        trace_publications(timings)
        after_load = self._last is not None and self._last.full_load
        self._last = LastPoll(
            polled_at=datetime.now(UTC),
            watermark=polled.watermark.replace(tzinfo=UTC),
            probe_from=(polled.probe_from or polled.watermark).replace(tzinfo=UTC),
            probe_count=polled.probe_count,
            full_load=polled.full_load,
        )
        found_something = bool(polled.events_new or published)
        self.finds += found_something
        if found_something or after_load or time.monotonic() - self._recorded_at > RECORD_SECONDS:
            self._recorded_at = time.monotonic()
            self._context.log.info("%s: %d new events, published %s", reason, polled.events_new, published or "nothing")
            for record in records:
                self._context.log_event(record)
        if not held.passed or self._told_held:
            tell_held(self._context, held)
            self._told_held = not held.passed
        if published:
            self._context.instance.add_run_tags(self._context.run_id, {PUBLICATION_TAG: str(published.seq)})
        keep_in_step(self._context.instance, keys)


def _record(asset: str, metadata: Metadata) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(asset_key(asset), metadata=metadata)


def _tells(result: HydrationResult) -> bool:
    return bool(result.changed or result.deleted or result.lost or result.quarantined)
