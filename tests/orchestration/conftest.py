"""An instance of Dagster in memory, and a receiver for its alerts."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.orchestration.alerts import Receiver


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    made = Receiver()
    monkeypatch.setenv("ALERT_WEBHOOK_URL", made.url)
    monkeypatch.setenv("DAGSTER_UI_URL", "https://dagster.example/")
    yield made
    made.server.shutdown()
    made.server.server_close()
