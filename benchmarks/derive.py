"""P4 ``realign`` and P5 ``trickle``: derivation and publication against their bounds, at both sizes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import duckdb

# Arrow loads it with the first value it is given: a run has done so by then, for the snapshots.
import pandas as pd  # noqa: F401

from benchmarks.changes import change_some, move_a_tenth
from benchmarks.cost import Cost, compared, cost
from benchmarks.data import CATALOG, LARGE, NO_GUARD, NOW, SMALL, Stores, published
from benchmarks.results import Measurement
from delta_service.store.changes import OPEN_SEQ
from delta_service.store.sqlite import SqliteEngine
from orchestration.pipeline.derive import PublicationResult, derive
from orchestration.pipeline.replicate import replicate

ROUNDS = 5
WARM_UP_ROUNDS, WARM_ROUNDS = 10, 15

ANTI_JOIN_NAME = "DuckDB anti-joins in memory"
INSERTS_NAME = "bare inserts"


@dataclass
class Costs:
    """Round by round: ours, and each bound."""

    derive: list[Cost] = field(default_factory=list)
    anti_join: list[Cost] = field(default_factory=list)
    publish: list[Cost] = field(default_factory=list)
    inserts: list[Cost] = field(default_factory=list)

    def of(self, rounds: slice) -> Costs:
        return Costs(self.derive[rounds], self.anti_join[rounds], self.publish[rounds], self.inserts[rounds])


def realign() -> list[Measurement]:
    """10 % of all accounts change territory, their children with them."""
    found: list[Measurement] = []
    for size in (SMALL, LARGE):
        costs = Costs()
        moves = 0
        with published(size) as stores:
            for number in range(ROUNDS):
                before, store = _membership(stores.warehouse), _set_aside(stores)
                move_a_tenth(stores.warehouse, number)
                result = _publish(stores, costs)
                moves = result.inserted + result.deleted
                _check_bodies(stores.warehouse, result.seq)
                costs.anti_join.append(_anti_join(before, _membership(stores.warehouse)))
                costs.inserts.append(_bare_inserts(stores, result.seq, store))
        found += compared(f"realign {size.name}, {moves} moves: derive", costs.derive, ANTI_JOIN_NAME, costs.anti_join)
        found += compared(f"realign {size.name}, {moves} moves: publish", costs.publish, INSERTS_NAME, costs.inserts)
    return found


def trickle() -> list[Measurement]:
    """200 changed rows: at size L, against the same at size S; just opened, and when the stores have warmed up."""
    costs = {SMALL: Costs(), LARGE: Costs()}
    with published(SMALL) as small, published(LARGE) as large:
        for number in range(WARM_UP_ROUNDS + WARM_ROUNDS):
            for size, stores in ((SMALL, small), (LARGE, large)):
                change_some(stores.warehouse, number)
                _publish(stores, costs[size])
    found = []
    for when, rounds in (("just opened", slice(1)), ("warm", slice(WARM_UP_ROUNDS, None))):
        ours, theirs = (costs[size].of(rounds) for size in (LARGE, SMALL))
        found += compared(f"trickle L, {when}: derive", ours.derive, "S", theirs.derive)
        found += compared(f"trickle L, {when}: publish", ours.publish, "S", theirs.publish)
        found += compared(f"trickle L, {when}: both", _sums(ours), "S", _sums(theirs))
    return found


def _publish(stores: Stores, costs: Costs) -> PublicationResult:
    results: list[PublicationResult | None] = []
    costs.derive.append(
        cost(lambda: results.append(derive(stores.warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)))
    )
    costs.publish.append(cost(lambda: replicate(stores.warehouse, CATALOG, stores.writer)))
    (result,) = results
    assert result is not None
    return result


def _sums(costs: Costs) -> list[Cost]:
    return [
        Cost(a.seconds + b.seconds, a.cpu_seconds + b.cpu_seconds)
        for a, b in zip(costs.derive, costs.publish, strict=True)
    ]


def _check_bodies(connection: duckdb.DuckDBPyConnection, seq: int) -> None:
    """Only accounts carry the id of their territory: no other row's body may be written anew."""
    written = connection.execute("SELECT DISTINCT object FROM row_body WHERE from_seq = ?", [seq]).fetchall()
    assert written == [("account",)], written


def _membership(connection: duckdb.DuckDBPyConnection) -> object:
    return connection.sql(
        f"SELECT territory, object, row_id FROM visibility WHERE to_seq = {OPEN_SEQ}"
    ).to_arrow_table()


def _anti_join(before: object, after: object) -> Cost:
    """Who left and who came, from both full memberships, into tables."""
    with duckdb.connect() as memory:
        for name, table in (("arrow_before", before), ("arrow_after", after)):
            memory.register(name, table)
            memory.execute(f"CREATE TABLE {name.removeprefix('arrow_')} AS FROM {name}")

        def both_ways() -> None:
            for left, right in (("before", "after"), ("after", "before")):
                memory.execute(
                    f"CREATE TABLE only_{left} AS FROM {left} ANTI JOIN {right} USING (territory, object, row_id)"
                )

        return cost(both_ways)


def _set_aside(stores: Stores) -> Path:
    """A copy of the delta store as it is."""
    checkpointed = apsw.Connection(str(stores.folder / "delta.sqlite"))
    checkpointed.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    checkpointed.close()
    return Path(shutil.copyfile(stores.folder / "delta.sqlite", stores.folder / "before.sqlite"))


def _bare_inserts(stores: Stores, seq: int, before: Path) -> Cost:
    """The rows that the publication left behind, keys known and in order, into the store as it was before.

    Intervals that it ended are taken out there first, and put back with their end, in the one transaction with all
    others.
    """
    tables = {
        "visibility": "from_seq = :seq OR to_seq = :seq",
        "row_version": "from_seq = :seq",
        "row_body": "body_key IN (SELECT body_key FROM row_version WHERE from_seq = :seq)",
        "head": "seq = :seq",
    }
    newest = SqliteEngine(stores.folder / "delta.sqlite").open_reader()
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for table, condition in tables.items():
        rows[table] = list(newest.execute(f"SELECT * FROM {table} WHERE {condition}", {"seq": seq}))
    newest.close()
    connection = SqliteEngine(before).open_writer()
    with connection:
        connection.executemany(
            "DELETE FROM visibility WHERE territory = ? AND object = ? AND row_key = ? AND from_seq = ?",
            (row[:4] for row in rows["visibility"] if row[4] == seq),
        )
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def insert() -> None:
        with connection:
            for table, its_rows in rows.items():
                marks = ", ".join("?" * len(its_rows[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", its_rows)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    spent = cost(insert)
    connection.close()
    before.unlink()
    return spent
