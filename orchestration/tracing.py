"""OpenTelemetry spans of publications, from the edit in the CRM to the delta store. Off unless an exporter is named.

``OTEL_EXPORTER_OTLP_ENDPOINT`` (and the other standard variables) switch it on. All is worked out afterwards from the
warehouse's own stamps, so that no stage knows of it: the trace of a publication is the same whoever replays it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from delta_service.store.trace_ids import publication_trace
from orchestration.pipeline.warehouse import read_state, statement

EXPORT_SECONDS = 3


@dataclass(frozen=True)
class PublicationTimings:
    """One publication of an epoch: its numbers, and when its oldest edit was made, read, and published (UTC)."""

    epoch: str
    seq: int
    edited_at: datetime
    read_at: datetime
    published_at: datetime
    inserted: int
    updated: int
    deleted: int


def publication_timings(connection: duckdb.DuckDBPyConnection, newest_seq: int, count: int) -> list[PublicationTimings]:
    """Those of the ``count`` newest publications; nothing where tracing is off."""
    if not count or not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return []
    epoch = read_state(connection, "epoch") or ""
    found = connection.execute(statement("publication_timings"), {"first_seq": newest_seq - count + 1}).fetchall()
    return [PublicationTimings(epoch, *row) for row in found]


def trace_publications(timings: Sequence[PublicationTimings]) -> None:
    """Tell of publications that the delta store has just been given. Waits for the exporter a few seconds at most."""
    if not timings:
        return
    # Imported only where wanted: it takes a while.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.trace import set_span_in_context

    class PublicationIds(RandomIdGenerator):
        """The root's ids are those that the service works out too; its children's are random."""

        root: tuple[int, int] | None = None

        def generate_trace_id(self) -> int:
            return self.root[0] if self.root else super().generate_trace_id()

        def generate_span_id(self) -> int:
            root, self.root = self.root, None
            return root[1] if root else super().generate_span_id()

    ids = PublicationIds()
    provider = TracerProvider(resource=Resource.create({"service.name": "territory-delta-pipeline"}), id_generator=ids)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_SECONDS)))
    tracer = provider.get_tracer("orchestration")
    stored_ns = time.time_ns()
    for one in timings:
        edited_ns, read_ns, published_ns = _ns(one.edited_at), _ns(one.read_at), _ns(one.published_at)
        ids.root = publication_trace(one.epoch, one.seq)
        numbers = {
            "publication.seq": one.seq,
            "rows.inserted": one.inserted,
            "rows.updated": one.updated,
            "rows.deleted": one.deleted,
        }
        root = tracer.start_span("publication", attributes=numbers, start_time=edited_ns)
        inside = set_span_in_context(root)
        for name, start_ns, end_ns in (
            ("unread in the CRM", edited_ns, read_ns),
            ("read and derive", read_ns, published_ns),
            ("into the delta store", published_ns, stored_ns),
        ):
            tracer.start_span(name, context=inside, start_time=start_ns).end(end_ns)
        root.end(stored_ns)
    provider.shutdown()


def _ns(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1_000_000) * 1000
