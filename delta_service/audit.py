"""One line for each delivery: who got what, without who or what. Scopes, publications and numbers only."""

from __future__ import annotations

import logging

from delta_service import metrics
from delta_service.body import Counts
from delta_service.question import Question

log = logging.getLogger("delta_service.audit")


def record_delivery(
    kind: str, question: Question, now_seq: int, counts: Counts, size_bytes: int, request_id: str
) -> None:
    """Count and log what a device is given. ``kind`` says how: a page, a stream (cut or whole), a repair."""
    for operation, count in (("insert", counts.insert), ("update", counts.update), ("deleted", counts.deleted)):
        metrics.ROWS.labels(operation).inc(count)
    metrics.BYTES.inc(size_bytes)
    log.info(
        "delivered scope=%s from=%s to=%d kind=%s insert=%d update=%d deleted=%d bytes=%d request=%s",
        ",".join(question.scope) or "-",
        ",".join(f"{anchor.seq}@{','.join(anchor.scope) or '-'}" for anchor in question.anchors) or "-",
        now_seq,
        kind,
        counts.insert,
        counts.update,
        counts.deleted,
        size_bytes,
        request_id,
    )
