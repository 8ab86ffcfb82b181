"""Histories of publications, made in a warehouse."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import duckdb

from orchestration.pipeline.derive import derive
from tests.pipeline.snapshot_rows import CATALOG, NO_GUARD, NOW, put

START = datetime(2025, 1, 1)  # noqa: DTZ001 - the warehouse stores UTC without zone
DAYS = 60


def publish_some(connection: duckdb.DuckDBPyConnection, follow: Callable[[], object] = lambda: None) -> None:
    """Four publications: rows come, move, change, merge away and come back. ``follow`` is called after each."""
    put(connection, "account", "A", AccountName="Käthe", TerritoryId="T1")
    put(connection, "account", "B", TerritoryId="T2")
    put(connection, "contact", "C", AccountId="A")
    put(connection, "territory", "T1", TerritoryName="North")
    publish(connection)
    follow()
    put(connection, "account", "A", AccountName="Käthe", TerritoryId="T2")
    publish(connection)
    follow()
    put(connection, "account", "B", "deleted", TerritoryId="T2")
    connection.execute("UPDATE snapshot.account SET _merged_into = 'A' WHERE row_id = 'B'")
    put(connection, "contact", "C", AccountId="A", JobTitle="Oncologist")
    publish(connection)
    follow()
    put(connection, "account", "B", TerritoryId="T1")
    publish(connection)
    follow()


def publish(connection: duckdb.DuckDBPyConnection) -> None:
    assert derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD) is not None


def change_one_day(connection: duckdb.DuckDBPyConnection, rng: random.Random, day: int) -> None:
    for _ in range(3):
        account = f"A{rng.randint(0, 9)}"
        if rng.random() < 0.2:
            put(connection, "account", account, "deleted", TerritoryId="T1")
        else:
            put(connection, "account", account, Status=f"s{rng.randint(0, 2)}", TerritoryId=rng.choice(["T1", "T2"]))
    moment = START + timedelta(days=day)
    derive(connection, CATALOG, as_of=moment, now=moment, guard=NO_GUARD)
