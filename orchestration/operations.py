"""What an operator does by hand, as jobs: look before a load or a re-alignment, release what is held, tidy up."""

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
from pydantic import Field

from orchestration.advice import advised
from orchestration.assets.checks import publish_soundly
from orchestration.assets.policy import PUBLICATION_TAG, WRITER_POOL
from orchestration.catalog import Catalog
from orchestration.due import last_poll
from orchestration.pipeline import alignment
from orchestration.pipeline.alignment_file import AlignmentFileError, read_alignment
from orchestration.pipeline.backup import BackupError, Manifest, create_backup
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.decisions import Decided, Decision, NothingHeldError, reject, release
from orchestration.pipeline.hydrate import hydrate_remaining
from orchestration.pipeline.preflight import Verdict, as_markdown, preflight
from orchestration.pipeline.rebuild import UnknownTerritoryError
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.report import touched_report
from orchestration.pipeline.requests import TO_BE_READ
from orchestration.pipeline.warehouse import scalar, transaction, utc_now
from orchestration.pipeline.wording import called
from orchestration.resources.crm import CrmResource
from orchestration.resources.delta_store import DeltaStoreResource
from orchestration.resources.warehouse import WarehouseResource
from orchestration.tenancy import RUN_TAGS


@dg.op
@advised
def ask_the_pod(context: dg.OpExecutionContext, warehouse: WarehouseResource, crm: CrmResource) -> None:
    """Ask for a little of everything, and report what the pod allows."""
    last = last_poll(context.instance)
    findings = preflight(crm.client, warehouse.catalog, datetime.now(UTC), last.watermark if last else None)
    report = as_markdown(findings)
    context.add_output_metadata(
        {"report": dg.MetadataValue.md(report), "operations_spent": crm.client.operations_spent}
    )
    context.log.info("Preflight\n%s", report)
    bad = [finding.subject for finding in findings if finding.verdict is Verdict.BAD]
    if bad:
        raise dg.Failure(f"Not usable as it is: {', '.join(bad)}.\n{report}", allow_retries=False)


@dg.job(
    name="preflight",
    tags=RUN_TAGS,
    description="What the pod allows: access, clock, event log, lists. Reads a few rows only.",
)
def preflight_job() -> None:
    ask_the_pod()


class AlignmentConfig(dg.Config):
    """``file``: CSV with the columns account, from, to. ``announce``: let these moves pass the guard."""

    file: str
    announce: bool = False
    reason: str = ""


@dg.op(pool=WRITER_POOL)
@advised
def work_out_alignment(context: dg.OpExecutionContext, config: AlignmentConfig, warehouse: WarehouseResource) -> None:
    """Work out what an alignment file would move, changing nothing; announce it if asked to."""
    if config.announce and not config.reason.strip():
        raise dg.Failure("An announcement needs a reason.", allow_retries=False)
    with warehouse.open() as connection:
        try:
            moves = read_alignment(connection, warehouse.catalog, Path(config.file))
        except (AlignmentFileError, OSError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        effects = alignment.dry_run(connection, warehouse.catalog, moves)
        verdicts = alignment.judge(connection, warehouse.catalog, moves, warehouse.guard, utc_now())
        report = alignment.as_markdown(effects, verdicts, announced=config.announce)
        if config.announce:
            alignment.announce(connection, moves, config.reason, utc_now())
    context.add_output_metadata({"report": dg.MetadataValue.md(report), "accounts": len(moves)})
    context.log.info("%d accounts; %s%s", len(moves), report, "\nAnnounced." if config.announce else "")


@dg.job(
    tags=RUN_TAGS,
    description="What an alignment file (CSV: account, from, to) would move, before it is done in the CRM.",
)
def dry_run_alignment() -> None:
    work_out_alignment()


class DecisionConfig(dg.Config):
    """About what is held: everything, or some territories (ids or names), or one object of the catalog.

    ``reason`` and ``decided_by`` (default: the user whose process runs the job) are kept with the decision.
    """

    reason: str
    territories: list[str] = Field(default_factory=list, description="ids or names; empty means all")
    object: str = Field(default="", description="of this object only, such as account")
    decided_by: str = ""

    def decision(self) -> Decision:
        """Raises ``Failure`` for a blank reason."""
        try:
            return Decision(self.reason, self.decided_by or getpass.getuser(), self.territories, self.object or None)
        except ValueError as error:
            raise dg.Failure(str(error), allow_retries=False) from error


@dg.op(pool=WRITER_POOL)
@advised
def release_held_rows(
    context: dg.OpExecutionContext,
    config: DecisionConfig,
    warehouse: WarehouseResource,
    crm: CrmResource,
    delta_store_file: DeltaStoreResource,
) -> None:
    """Let rows that the guard holds go, and publish that at once."""
    decision = config.decision()
    with warehouse.open() as connection:
        decided = _decided(connection, warehouse, decision, release)
        pending = scalar(connection, f"SELECT count(*) FROM read_requests WHERE {TO_BE_READ}")
    if pending:
        # Left by a run that was killed: a publication would claim more than was read.
        hydrate_remaining(warehouse.open, crm.client, warehouse.catalog, hold_moves=warehouse.guard.holds_moves)
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        published = publish_soundly(context, connection, warehouse)
        replicate(connection, warehouse.catalog, writer)
        report = touched_report(connection, published.seq) if published else "Nothing changed for any device."
    if published:
        context.instance.add_run_tags(context.run_id, {PUBLICATION_TAG: str(published.seq)})
    context.add_output_metadata({"report": dg.MetadataValue.md(report), "rows": sum(one.rows for one in decided)})
    for one in decided:
        context.log.info("Released: %d rows of %s", one.rows, called(one.territory, one.name))
    context.log.info("%s", report)


@dg.job(
    tags=RUN_TAGS,
    description="Publish what the guard holds: all, some territories, or one object. Needs a reason, which is kept.",
)
def release_held_publication() -> None:
    release_held_rows()


@dg.op(pool=WRITER_POOL)
@advised
def reject_held_rows(context: dg.OpExecutionContext, config: DecisionConfig, warehouse: WarehouseResource) -> None:
    """Ask for held rows again, for the day when the CRM answered wrongly and is mended."""
    decision = config.decision()
    with warehouse.open() as connection:
        decided = _decided(connection, warehouse, decision, reject)
    for one in decided:
        context.log.info("%d rows of %s will be read again by the next sync", one.rows, called(one.territory, one.name))


@dg.job(
    tags=RUN_TAGS,
    description="Do not publish what the guard holds: the next sync reads those rows again. Needs a reason.",
)
def reject_held_publication() -> None:
    reject_held_rows()


def _decided(
    connection: duckdb.DuckDBPyConnection,
    warehouse: WarehouseResource,
    decision: Decision,
    decide: Callable[[duckdb.DuckDBPyConnection, Catalog, Decision, datetime], list[Decided]],
) -> list[Decided]:
    try:
        with transaction(connection):
            return decide(connection, warehouse.catalog, decision, utc_now())
    except (NothingHeldError, UnknownTerritoryError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


@dg.op(pool=WRITER_POOL)
@advised
def copy_warehouse_to_delta_store(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, delta_store_file: DeltaStoreResource
) -> None:
    """Replace the delta store's content by the warehouse's, in one transaction."""
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        result = replicate(connection, warehouse.catalog, writer, full_copy=True)
    context.log.info("The delta store holds publication %d", result.published_seq)


@dg.job(tags=RUN_TAGS, description="Rebuild the delta store from the warehouse. Devices' cursors stay good.")
def rebuild_delta_store() -> None:
    copy_warehouse_to_delta_store()


@dg.op(pool=WRITER_POOL)
@advised
def fold_history(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, delta_store_file: DeltaStoreResource
) -> None:
    """Forget what is older than the horizons: the warehouse first, then the delta store."""
    settings = warehouse.settings
    retention = Retention(settings.history_days, settings.body_hours)
    with warehouse.open() as connection, delta_store_file.writer() as writer:
        replicate(connection, warehouse.catalog, writer)
        horizons = compact(connection, retention, utc_now())
        writer.prune(horizons.history_seq, horizons.body_seq)
    context.log.info("Cursors before publication %d get a snapshot from now on", horizons.history_seq)


@dg.job(
    name="compact",
    tags=RUN_TAGS,
    description="Forget history beyond the horizon, superseded texts and old source records.",
)
def compact_history() -> None:
    fold_history()


class BackupConfig(dg.Config):
    """``folder``: on the machine that runs the jobs; each backup gets a folder of its own in it, named by the time."""

    folder: str


@dg.op(pool=WRITER_POOL)
@advised
def copy_stores(context: dg.OpExecutionContext, config: BackupConfig, warehouse: WarehouseResource) -> None:
    """Copy warehouse and delta store as they are between two runs, while the service goes on answering."""
    try:
        backup = create_backup(warehouse.settings, Path(config.folder), datetime.now(UTC))
    except (BackupError, OSError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    manifest = Manifest.read(backup)
    context.add_output_metadata(
        {
            "backup": dg.MetadataValue.path(str(backup)),
            "published_seq": manifest.published_seq,
            "bytes": sum(file.bytes for file in manifest.files.values()),
        }
    )
    context.log.info("%s holds publication %d; check it with the command verify", backup, manifest.published_seq)


@dg.job(
    tags=RUN_TAGS,
    description="Copy warehouse and delta store to a folder; python -m orchestration.backup restores them.",
)
def backup() -> None:
    copy_stores()
