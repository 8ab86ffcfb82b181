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
from delta_service.tracing import delivery_tracer

log = logging.getLogger("delta_service.audit")

HOLD_SECONDS = 0.1
HOLD_RECORDS = 100


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
        request_id = request_id or new_request_id()
        _unwritten.add(self, _line(self, anchors, request_id))
        if (trace := delivery_tracer()) is not None:
            scope = ",".join(self.scope) or "-"
            given: dict[str, str | int] = {
                "scope": scope,
                "kind": self.kind,
                "bytes": self.size_bytes,
                "request.id": request_id,
            }
            trace(self.epoch, self.now_seq, given)


class _Unwritten:
    """Deliveries that are neither counted nor logged yet: to do that takes longer than to note it."""

    __slots__ = ("_counts", "_lines", "_requests", "_size_bytes", "_timer")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lines: list[str] = []
        self._requests: dict[Counter, int] = defaultdict(int)
        self._counts, self._size_bytes = Counts(), 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, delivery: Delivery, line: str) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self.write)
        self._lines.append(line)
        self._requests[delivery.requests] += 1
        self._counts.add(delivery.counts)
        self._size_bytes += delivery.size_bytes
        if len(self._lines) == HOLD_RECORDS:
            self.write()

    def write(self) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        lines, requests, counts, size_bytes = self._lines, self._requests, self._counts, self._size_bytes
        # Should logging fail, nothing is counted twice or not at all.
        self._begin()
        for counter, count in requests.items():
            counter.inc(count)
        metrics.INSERTED.inc(counts.insert)
        metrics.UPDATED.inc(counts.update)
        metrics.DELETED.inc(counts.deleted)
        metrics.BYTES.inc(size_bytes)
        log.info(Lines(lines))


_unwritten = _Unwritten()
write_records = _unwritten.write
"""Count and log what was recorded."""


def _line(delivery: Delivery, anchors: Sequence[Anchor], request_id: str) -> str:
    counts = delivery.counts
    held = ",".join([f"{anchor.seq}@{','.join(anchor.scope) or '-'}" for anchor in anchors]) or "-"
    return (
        f"delivered scope={','.join(delivery.scope) or '-'} from={held} to={delivery.now_seq} kind={delivery.kind}"
        f" insert={counts.insert} update={counts.update} deleted={counts.deleted}"
        f" bytes={delivery.size_bytes} request={request_id}"
    )
