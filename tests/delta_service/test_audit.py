"""Records of deliveries: each is counted and logged exactly once, even if logging others fails."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from delta_service import audit
from delta_service.audit import HOLD_RECORDS, HOLD_SECONDS, Delivery, write_records
from delta_service.body import Counts
from tests.delta_service.conftest import lines_of
from tests.delta_service.virtual_time import run_in_virtual_time


class Deliveries:
    """Deliveries of one answer to many devices."""

    def __init__(self) -> None:
        write_records()
        self._registry = CollectorRegistry()
        requests = Counter("requests", "Of these alone.", registry=self._registry)
        self._delivery = Delivery("page", ("T-NORTH",), "epoch", 3, Counts(1, 2, 3), 100, requests)
        self._before = self._told()

    def record(self, count: int) -> None:
        for _ in range(count):
            self._delivery.record((), None)

    def counted(self) -> tuple[float, ...]:
        """Requests, bytes, and rows by operation."""
        requests = self._registry.get_sample_value("requests_total") or 0.0
        return requests, *(now - before for now, before in zip(self._told(), self._before, strict=True))

    def _told(self) -> list[float]:
        operations = [{"operation": name} for name in ("insert", "update", "deleted")]
        rows = [REGISTRY.get_sample_value("delta_rows_total", operation) for operation in operations]
        return [value or 0.0 for value in (REGISTRY.get_sample_value("delta_body_bytes_total"), *rows)]


def test_every_delivery_is_counted_once_although_logging_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError

    async def scenario() -> None:
        deliveries = Deliveries()
        deliveries.record(3)
        with monkeypatch.context() as broken:
            broken.setattr(audit.log, "info", failing)
            with pytest.raises(RuntimeError):
                write_records()
        write_records()
        assert deliveries.counted() == (3, 300, 3, 6, 9)

    run_in_virtual_time(scenario())


def test_the_time_to_hold_records_starts_with_the_first_record(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        deliveries = Deliveries()
        with caplog.at_level("INFO", logger="delta_service.audit"):
            deliveries.record(HOLD_RECORDS)
            await asyncio.sleep(HOLD_SECONDS * 0.7)
            deliveries.record(1)
            await asyncio.sleep(HOLD_SECONDS * 0.6)
            deliveries.record(1)
            await asyncio.sleep(HOLD_SECONDS * 2)
        assert [len(record.getMessage().splitlines()) for record in caplog.records] == [HOLD_RECORDS, 2]

    run_in_virtual_time(scenario())


def test_records_are_held_until_there_are_many_or_the_time_has_passed(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        deliveries = Deliveries()
        with caplog.at_level("INFO", logger="delta_service.audit"):
            deliveries.record(HOLD_RECORDS - 1)
            assert not lines_of(caplog)
            deliveries.record(2)
            assert len(lines_of(caplog)) == HOLD_RECORDS
            await asyncio.sleep(2 * HOLD_SECONDS)
            assert len(lines_of(caplog)) == HOLD_RECORDS + 1
            assert len(caplog.records) == 2
        assert deliveries.counted()[:2] == (HOLD_RECORDS + 1, 100 * (HOLD_RECORDS + 1))

    run_in_virtual_time(scenario())
