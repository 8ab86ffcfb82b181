"""OpenTelemetry spans of deliveries, children of the publication that they bring. Off unless an exporter is named.

``OTEL_EXPORTER_OTLP_ENDPOINT`` (and the other standard variables) switch it on; the packages are those of the extra
``otel``. A span holds scopes and numbers, never who asked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache

from delta_service.store.trace_ids import publication_trace

Deliver = Callable[[str, int, dict[str, str | int]], None]
"""Tells that a device is given a publication (epoch, seq) now, with attributes."""


@cache
def delivery_tracer() -> Deliver | None:
    """None where nothing is traced."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    # Imported only where wanted: it takes a while, and a device's poll has no use for it.
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "territory-delta-service"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("delta_service")

    def deliver(epoch: str, seq: int, attributes: dict[str, str | int]) -> None:
        trace_id, root_id = publication_trace(epoch, seq)
        root = trace.SpanContext(trace_id, root_id, True, trace.TraceFlags(trace.TraceFlags.SAMPLED))
        parent = trace.set_span_in_context(trace.NonRecordingSpan(root))
        now_ns = time.time_ns()
        tracer.start_span("deliver", context=parent, attributes=attributes, start_time=now_ns).end(now_ns)

    return deliver
