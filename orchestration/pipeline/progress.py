"""How far the reading of a long work list has come, told now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from orchestration.pipeline.ingest import OpenWarehouse
from orchestration.pipeline.warehouse import scalar


@dataclass(frozen=True)
class Progress:
    """Requests to the CRM. One that is answered may ask for others, so the total grows while it is worked on."""

    done: int
    total: int
    seconds: float


class WatchedWarehouse:
    """Opens the warehouse for those who work on the list, and counts what is left of it each time they let go."""

    def __init__(
        self, open_warehouse: OpenWarehouse, tell: Callable[[Progress], None], every_seconds: float = 10.0
    ) -> None:
        self._open_warehouse, self._tell, self._every_seconds = open_warehouse, tell, every_seconds
        self._began = self._told_at = time.monotonic()
        self._done = self._pending = 0

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._open_warehouse() as connection:
            yield connection
            pending = scalar(connection, "SELECT count(*) FROM read_requests")
        self._done += max(0, self._pending - pending)
        self._pending = pending
        now = time.monotonic()
        if pending and now - self._told_at >= self._every_seconds:
            self._told_at = now
            self._tell(self.progress)

    @property
    def progress(self) -> Progress:
        return Progress(self._done, self._done + self._pending, time.monotonic() - self._began)
