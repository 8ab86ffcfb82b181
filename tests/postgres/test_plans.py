"""Queries of devices use their indexes, whatever statistics PostgreSQL has about the tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from delta_service.store import questions
from delta_service.store.engine import ReadConnection, engine_at
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.model import IDENTITY
from tests.postgres.cluster import new_location

pytestmark = pytest.mark.processes


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ReadConnection]:
    """A reader of an empty store, where the planner would prefer to scan whole tables."""
    location = new_location("postgres", tmp_path)
    with DeltaStoreWriter(location) as writer, closing(engine_at(location).open_reader()) as reader:
        writer.initialise(IDENTITY)
        yield reader


@pytest.mark.parametrize(
    "sql",
    [
        questions.snapshot_page(questions.Shape(0, 0, 1, 0, continued=True)),
        questions.delta_page(questions.Shape(1, 0, 0, 0, continued=False)),
        questions.delta_page(questions.Shape(2, 1, 1, 2, continued=True)),
        questions.delta_page(questions.Shape(9, 0, 0, 0, continued=True)),
        questions.totals(2),
        questions.contents(1, 0),
    ],
    ids=["snapshot", "delta", "delta across scopes", "delta of many", "totals", "contents"],
)
def test_no_query_of_a_device_scans_a_whole_table(reader: ReadConnection, sql: str) -> None:
    class Anything(dict[str, int]):
        def __missing__(self, name: str) -> int:
            return 1

        def __contains__(self, name: object) -> bool:
            return True

    plan = "\n".join(line for (line,) in reader.execute("EXPLAIN " + sql, Anything()))
    for table in ("visibility", "row_version", "row_body", "row"):
        assert f"Seq Scan on {table}\n" not in plan, plan
        assert f"Seq Scan on {table} " not in plan, plan
