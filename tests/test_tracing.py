"""A trace connects an edit in the CRM with the answers that bring it to devices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import duckdb
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from delta_service import tracing
from orchestration.pipeline.schema import MODIFICATION_RECORDS, PUBLICATION, STATE
from orchestration.tracing import publication_timings, trace_publications

EDITED = datetime(2026, 11, 24, 6, 0, 0)  # noqa: DTZ001 (the warehouse keeps UTC without saying so)


class Collector(HTTPServer):
    """Keeps received spans by name."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.arrived = threading.Condition()
        super().__init__(("127.0.0.1", 0), Receiver)

    def wait_for(self, name: str) -> Any:
        with self.arrived:
            assert self.arrived.wait_for(lambda: name in self.spans, timeout=20), f"no span {name}: {list(self.spans)}"
            return self.spans[name]


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        request = ExportTraceServiceRequest.FromString(self.rfile.read(size))
        spans = [span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]
        with self.server.arrived:
            self.server.spans |= {span.name: span for span in spans}
            self.server.arrived.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collector() -> Iterator[Collector]:
    with Collector() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Two publications; the second brings an edit that was made 7 seconds and read 3 seconds before."""
    with duckdb.connect() as connection:
        for table in (STATE, PUBLICATION, MODIFICATION_RECORDS):
            connection.execute(table.ddl)
        connection.execute("INSERT INTO state VALUES ('epoch', 'e1')")
        for seq, at in ((1, EDITED - timedelta(hours=1)), (2, EDITED + timedelta(seconds=7))):
            connection.execute("INSERT INTO publication VALUES (?, ?, ?, 1, 2, 3, 4)", [seq, at, at])
        connection.execute(
            "INSERT INTO modification_records (event_id, modified_date, read_at) VALUES ('E1', ?, ?), ('E0', ?, ?)",
            [EDITED, EDITED + timedelta(seconds=4), EDITED - timedelta(hours=2), EDITED - timedelta(hours=1)],
        )
        yield connection


def test_an_edit_its_publication_and_its_delivery_are_one_trace(
    warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing.delivery_tracer.cache_clear()
    with collector() as spans:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{spans.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        trace_publications(publication_timings(warehouse, newest_seq=2, count=1))
        deliver = tracing.delivery_tracer()
        assert deliver is not None
        deliver("e1", 2, {"scope": "T1"})
        root, delivery = spans.wait_for("publication"), spans.wait_for("deliver")
        waiting, reading = spans.spans["unread in the CRM"], spans.spans["read and derive"]
    tracing.delivery_tracer.cache_clear()
    assert root.parent_span_id == b""
    assert {one.trace_id for one in spans.spans.values()} == {root.trace_id}
    assert {one.parent_span_id for one in (waiting, reading, delivery)} == {root.span_id}
    assert waiting.end_time_unix_nano - waiting.start_time_unix_nano == 4_000_000_000
    assert reading.end_time_unix_nano - reading.start_time_unix_nano == 3_000_000_000
    assert root.start_time_unix_nano == waiting.start_time_unix_nano


def test_nothing_is_traced_unless_an_exporter_is_configured(
    warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing.delivery_tracer.cache_clear()
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert publication_timings(warehouse, newest_seq=2, count=1) == []
    assert tracing.delivery_tracer() is None
