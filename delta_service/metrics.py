"""What Prometheus sees. With several workers their numbers are summed through files (see ``__main__``)."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

REQUESTS = Counter("delta_requests_total", "Answers of the delta routes by kind.", ["kind"])
PROBLEMS = Counter("delta_problems_total", "Refused requests by code.", ["code"])
ROWS = Counter("delta_rows_total", "Operations delivered.", ["operation"])
BYTES = Counter("delta_body_bytes_total", "Body bytes delivered by delta answers, as sent.")
READ_SECONDS = Histogram(
    "delta_read_seconds",
    "Time from asking the store to a finished page.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
PUBLISHED_SEQ = Gauge("delta_published_seq", "Newest publication known.", multiprocess_mode="max")
AS_OF_SECONDS = Gauge(
    "delta_as_of_timestamp_seconds", "All CRM changes up to this time are served.", multiprocess_mode="max"
)
# Both may fall, so of several workers the one that was asked last is right.
HELD_ROWS = Gauge(
    "delta_held_rows",
    "Rows that the pipeline's guard holds, each as often as territories see it.",
    multiprocess_mode="mostrecent",
)
HELD_AGE_SECONDS = Gauge(
    "delta_held_age_seconds", "Since when the first of them is held; 0 if none is.", multiprocess_mode="mostrecent"
)
WAITING = Gauge("delta_waiting", "Long polls and listeners that wait for a change.", multiprocess_mode="livesum")

INSERTED, UPDATED, DELETED = map(ROWS.labels, ("insert", "update", "deleted"))
NOTHING_NEW = REQUESTS.labels("nothing_new")
NOT_MODIFIED = REQUESTS.labels("not_modified")
DELTA = REQUESTS.labels("delta")
SNAPSHOT = REQUESTS.labels("snapshot")
DIGEST = REQUESTS.labels("digest")
COMPARISON = REQUESTS.labels("comparison")
EVENTS = REQUESTS.labels("events")
REPAIR = REQUESTS.labels("repair")


def exposition() -> bytes:
    """Prometheus text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
