"""One line for each delivery: who got what, without who or what. Scopes, publications and numbers only."""

from __future__ import annotations

import logging

from delta_service import metrics
from delta_service.body import Counts
from delta_service.question import Question
from delta_service.tracing import trace_delivery

log = logging.getLogger("delta_service.audit")


def record_delivery(
    kind: str, question: Question, epoch: str, now_seq: int, counts: Counts, size_bytes: int, request_id: str
) -> None:
    """Count and log what a device is given. ``kind`` says how: a page, a stream (cut or whole), a repair."""
    metrics.INSERTED.inc(counts.insert)
    metrics.UPDATED.inc(counts.update)
    metrics.DELETED.inc(counts.deleted)
    metrics.BYTES.inc(size_bytes)
    scope = ",".join(question.scope) or "-"
    trace_delivery(epoch, now_seq, {"scope": scope, "kind": kind, "bytes": size_bytes, "request.id": request_id})
    log.info(
        "delivered scope=%s from=%s to=%d kind=%s insert=%d update=%d deleted=%d bytes=%d request=%s",
        scope,
        ",".join(f"{anchor.seq}@{','.join(anchor.scope) or '-'}" for anchor in question.anchors) or "-",
        now_seq,
        kind,
        counts.insert,
        counts.update,
        counts.deleted,
        size_bytes,
        request_id,
    )
