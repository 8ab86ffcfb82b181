"""One line for each delivery: who got what, without who or what. Scopes, publications and numbers only."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client import Counter

from delta_service import metrics
from delta_service.body import Counts
from delta_service.cursor import Anchor
from delta_service.logs import Lines
from delta_service.problems import new_request_id
from delta_service.scope import Scope
from delta_service.tracing import trace_delivery

log = logging.getLogger("delta_service.audit")

HOLD_SECONDS = 0.1
# All at once would keep whoever polls meanwhile waiting.
HOLD_RECORDS = 20


class Delivery(NamedTuple):
    """What an answer brings, to whomever it is given."""

    kind: str
    """A page, a stream (cut or whole), a repair."""
    scope: Scope
    epoch: str
    now_seq: int
    counts: Counts
    size_bytes: int
    requests: Counter
    """Where the request is counted."""

    def record(self, anchors: Sequence[Anchor], request_id: str | None) -> None:
        """Count and log that a device, which held this, is given it; ``request_id`` is None where it brought none."""
        if not _unwritten:
            _timers.append(asyncio.get_running_loop().call_later(HOLD_SECONDS, write_records))
        _unwritten.append((self, anchors, request_id))
        if len(_unwritten) == HOLD_RECORDS:
            write_records()


_unwritten: list[tuple[Delivery, Sequence[Anchor], str | None]] = []
_timers: list[asyncio.TimerHandle] = []


def write_records() -> None:
    """Count and log what was recorded. It is done in one go: between answers it takes twice as long."""
    while _timers:
        # It would write some of the next ones by themselves.
        _timers.pop().cancel()
    # Should a line fail, nothing is counted twice or not at all.
    records = _unwritten.copy()
    _unwritten.clear()
    totals, size_bytes = Counts(), 0
    requests: dict[Counter, int] = defaultdict(int)
    for delivery, _, _ in records:
        requests[delivery.requests] += 1
        totals.add(delivery.counts)
        size_bytes += delivery.size_bytes
    for counter, count in requests.items():
        counter.inc(count)
    metrics.INSERTED.inc(totals.insert)
    metrics.UPDATED.inc(totals.update)
    metrics.DELETED.inc(totals.deleted)
    metrics.BYTES.inc(size_bytes)
    log.info(Lines([_line(*record) for record in records]))


def _line(delivery: Delivery, anchors: Sequence[Anchor], request_id: str | None) -> str:
    request_id = request_id or new_request_id()
    counts, scope = delivery.counts, ",".join(delivery.scope) or "-"
    given: dict[str, str | int] = {"scope": scope, "kind": delivery.kind, "bytes": delivery.size_bytes}
    trace_delivery(delivery.epoch, delivery.now_seq, given | {"request.id": request_id})
    held = ",".join(f"{anchor.seq}@{','.join(anchor.scope) or '-'}" for anchor in anchors) or "-"
    return (
        f"delivered scope={scope} from={held} to={delivery.now_seq} kind={delivery.kind}"
        f" insert={counts.insert} update={counts.update} deleted={counts.deleted}"
        f" bytes={delivery.size_bytes} request={request_id}"
    )
