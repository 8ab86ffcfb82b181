"""What assets say of themselves in the Dagster UI: numbers, small tables and plots that answer what SQL would.

Row ids, territories, counts and times only: names of people, phones and addresses never leave the stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import dagster as dg
import duckdb

from delta_service.store.changes import OPEN_SEQ
from orchestration.assets.links import ServiceLinks
from orchestration.assets.plots import INLINE_CHARACTERS, bars
from orchestration.catalog import CatalogObject
from orchestration.lag import lag_metadata
from orchestration.pipeline.derive import PublicationResult
from orchestration.pipeline.hydrate import HydrationResult
from orchestration.pipeline.ingest import PollResult
from orchestration.pipeline.markdown import table_lines
from orchestration.pipeline.replicate import ReplicationResult
from orchestration.pipeline.report import touched_territories
from orchestration.pipeline.schema import snapshot_table
from orchestration.pipeline.warehouse import scalar

WINDOWS_SHOWN = 24
PUBLICATIONS_SHOWN = 10
ROWS_SHOWN = 10

Metadata = dict[str, dg.MetadataValue]
Cell = object


def of_poll(connection: duckdb.DuckDBPyConnection, result: PollResult, operations: int) -> Metadata:
    """Of one reading of the event log."""
    metadata: Metadata = {
        "watermark": dg.MetadataValue.timestamp(result.watermark.replace(tzinfo=UTC)),
        "full_load": dg.MetadataValue.bool(result.full_load),
        "events_read": dg.MetadataValue.int(result.events_read),
        "events_new": dg.MetadataValue.int(result.events_new),
        "rows_to_read": dg.MetadataValue.int(result.requests),
        "operations_spent": dg.MetadataValue.int(operations),
        "unread_seconds": dg.MetadataValue.float(result.unread.total_seconds()),
        "probe_count": dg.MetadataValue.int(result.probe_count),
    }
    if result.probe_from is not None:
        metadata["probe_from"] = dg.MetadataValue.timestamp(result.probe_from.replace(tzinfo=UTC))
    if result.clock_doubt:
        metadata["clock_not_believed"] = dg.MetadataValue.text(result.clock_doubt)
    if result.window is not None:
        lower, upper = result.window.lower, result.window.upper
        metadata["window"] = dg.MetadataValue.text(f"{lower:%Y-%m-%d %H:%M:%S} to {upper:%Y-%m-%d %H:%M:%S} UTC")
        metadata["window_seconds"] = dg.MetadataValue.int(int((upper - lower).total_seconds()))
    if result.events_by_kind:
        metadata["events_by_kind"] = table("event|new", sorted(result.events_by_kind.items()))
    if result.unknown_objects:
        metadata["unknown_objects"] = dg.MetadataValue.text(", ".join(result.unknown_objects))
    if result.not_understood:
        metadata["not_understood"] = table("what|count", sorted(result.not_understood.items()))
    windows = connection.execute(
        "SELECT events_new FROM read_windows ORDER BY upper_bound DESC LIMIT ?", [WINDOWS_SHOWN]
    ).fetchall()
    if windows:
        metadata["recent_windows"] = bars({"new events": [events for (events,) in reversed(windows)]})
    return metadata


def of_snapshot(result: HydrationResult, operations: int, tables: Metadata) -> Metadata:
    """Of reading one object; ``tables`` show some of its rows."""
    metadata: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(result.live_rows),
        "rows_read": dg.MetadataValue.int(result.rows_read),
        "rows_changed": dg.MetadataValue.int(result.changed),
        "rows_deleted": dg.MetadataValue.int(result.deleted),
        "rows_lost_from_sight": dg.MetadataValue.int(result.lost),
        "rows_revived": dg.MetadataValue.int(result.revived),
        "rows_quarantined": dg.MetadataValue.int(result.quarantined),
        "rows_without_modified_date": dg.MetadataValue.int(result.undated),
        "reads_unanswered": dg.MetadataValue.int(result.unanswered),
        "operations_spent": dg.MetadataValue.int(operations),
    }
    if result.by_reason:
        metadata["read_because"] = table("reason|requests", sorted(result.by_reason.items()))
    return metadata | tables


def changed_rows(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> dg.MetadataValue:
    """Some of the rows that wait to be published, the newest first."""
    rows = connection.execute(
        f"SELECT row_id, _state, strftime(ModifiedDate, '%m-%d %H:%M:%S') FROM {snapshot_table(obj).name}"
        " SEMI JOIN (SELECT row_id FROM touched WHERE object = $object) USING (row_id)"
        " ORDER BY _reading DESC, row_id LIMIT $limit",
        {"object": obj.name, "limit": ROWS_SHOWN},
    ).fetchall()
    return table("row|state|modified (UTC)", rows)


def quarantined_rows(connection: duckdb.DuckDBPyConnection, obj: CatalogObject) -> dg.MetadataValue:
    """The rows that could last not be understood, and why; never the value at fault."""
    rows = connection.execute(
        "SELECT row_id, field, reason, strftime(seen_at, '%m-%d %H:%M:%S') FROM quarantine"
        " WHERE object = $object ORDER BY seen_at DESC, row_id LIMIT $limit",
        {"object": obj.name, "limit": ROWS_SHOWN},
    ).fetchall()
    return table("row|field|reason|seen (UTC)", rows)


def numbers(result: PublicationResult | None) -> Metadata:
    """Of a publication, or of a run that had nothing to publish."""
    return {
        "published": dg.MetadataValue.bool(result is not None),
        "territories_touched": dg.MetadataValue.int(result.territories if result else 0),
        "rows_inserted": dg.MetadataValue.int(result.inserted if result else 0),
        "rows_updated": dg.MetadataValue.int(result.updated if result else 0),
        "rows_deleted": dg.MetadataValue.int(result.deleted if result else 0),
        **({"seq": dg.MetadataValue.int(result.seq)} if result else {}),
    }


def of_publication(
    connection: duckdb.DuckDBPyConnection, result: PublicationResult | None, as_of: datetime, now: datetime
) -> Metadata:
    """Of the deltas: the numbers, how far behind the CRM, the last publications, and what the newest did where."""
    metadata = numbers(result) | {
        **lag_metadata(as_of.replace(tzinfo=UTC), now.replace(tzinfo=UTC)),
        "rows_served": dg.MetadataValue.int(
            scalar(
                connection,
                "SELECT coalesce(sum(rows), 0)::BIGINT FROM territory_head WHERE to_seq = $open",
                {"open": OPEN_SEQ},
            )
        ),
        "rows_held": dg.MetadataValue.int(scalar(connection, "SELECT count(*) FROM held_row")),
    }
    recent = connection.execute(
        "SELECT seq, strftime(published_at, '%m-%d %H:%M'), territories, inserted, updated, deleted FROM publication"
        " ORDER BY seq DESC LIMIT ?",
        [PUBLICATIONS_SHOWN],
    ).fetchall()
    if recent:
        metadata["publications_plot"] = bars(
            {name: [row[place] for row in recent[::-1]] for place, name in enumerate(("insert", "update", "delete"), 3)}
        )
        metadata["publications"] = table("seq|published (UTC)|territories|insert|update|delete", recent)
    if result is not None:
        links = ServiceLinks.from_environment()
        metadata["territories"] = _territories(connection, result.seq, links)
        metadata["objects"] = _objects(connection, result.seq)
        metadata["sample"] = _sample(connection, result.seq, links)
    return metadata


def of_delta_store(result: ReplicationResult) -> Metadata:
    """Of the replica that the service reads."""
    metadata: Metadata = {
        "published_seq": dg.MetadataValue.int(result.published_seq),
        "publications_applied": dg.MetadataValue.int(result.applied),
        "full_copy": dg.MetadataValue.bool(result.full_copy),
    }
    service = ServiceLinks.from_environment().service_url
    if service is not None:
        metadata["service"] = dg.MetadataValue.url(f"{service}/docs")
        metadata["device_page"] = dg.MetadataValue.url(f"{service}/device/")
    return metadata


def table(header: str, rows: Iterable[Sequence[Cell]]) -> dg.MarkdownMetadataValue:
    """A Markdown table of as many rows as the UI shows in its place; the others are only counted.

    ``header`` holds the column names, parted by ``|``.
    """
    body = [tuple(row) for row in rows]
    head, rule, *lines = table_lines(header, body)
    text = f"{head}\n{rule}"
    for number, line in enumerate(lines):
        rest = f"\n\n… and {len(lines) - number} more"
        if len(text) + 1 + len(line) + len(rest) > INLINE_CHARACTERS:
            return dg.MetadataValue.md(text + rest)
        text += f"\n{line}"
    return dg.MetadataValue.md(text)


def _territories(connection: duckdb.DuckDBPyConnection, seq: int, links: ServiceLinks) -> dg.MetadataValue:
    """Rows in and out for each territory that a publication touched, the most touched first."""
    return table(
        "territory|insert|update|delete",
        [(links.device(name, territory), *counts) for territory, name, *counts in touched_territories(connection, seq)],
    )


def _objects(connection: duckdb.DuckDBPyConnection, seq: int) -> dg.MetadataValue:
    rows = connection.execute(
        "SELECT object, count(*) FILTER (operation = 'insert'), count(*) FILTER (operation = 'update'),"
        " count(*) FILTER (operation = 'delete') FROM territory_delta WHERE seq = ? GROUP BY object ORDER BY object",
        [seq],
    ).fetchall()
    return table("object|insert|update|delete", rows)


def _sample(connection: duckdb.DuckDBPyConnection, seq: int, links: ServiceLinks) -> dg.MetadataValue:
    """Some changes, those of whole accounts first; each row's id leads to the reason why it is where it is."""
    rows = connection.execute(
        "SELECT coalesce(name, territory), operation, object, row_id, territory"
        " FROM territory_delta LEFT JOIN territory USING (territory)"
        " WHERE seq = ? ORDER BY object, operation, 1, row_id LIMIT ?",
        [seq, ROWS_SHOWN],
    ).fetchall()
    return table(
        "territory|operation|object|row",
        [(name, op, obj, links.explain(row_id, where, obj, row_id)) for name, op, obj, row_id, where in rows],
    )
