"""Derivation on random histories: after every publication the tables equal a simple model."""

from __future__ import annotations

import hashlib
import random

import duckdb
import pytest

from orchestration.pipeline.derive import ReadsPendingError, derive
from orchestration.pipeline.verify import differences
from tests.pipeline.snapshot_rows import CATALOG, NO_GUARD, NOW, link, published_view, put

Row = dict[str, str | None]


class Model:
    """What should be visible, computed in the simplest way."""

    def __init__(self) -> None:
        self.accounts: dict[str, Row] = {}
        self.contacts: dict[str, Row] = {}
        self.links: dict[str, set[str]] = {}
        self.orders: dict[str, Row] = {}

    def view(self) -> dict[tuple[str, str, str], Row]:
        seen: dict[tuple[str, str, str], Row] = {}
        for a, account in self.accounts.items():
            territory = account["TerritoryId"]
            if territory is None:
                continue
            seen[territory, "account", a] = account
            for c, contact in self.contacts.items():
                if contact["AccountId"] == a or a in self.links.get(c, ()):
                    seen[territory, "contact", c] = contact
            for o, order in self.orders.items():
                if order["BusinessAccountId"] == a:
                    seen[territory, "order", o] = order
        return seen


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_give_the_views_of_the_model_and_of_a_recompute(
    warehouse: duckdb.DuckDBPyConnection, seed: int
) -> None:
    rng = random.Random(seed)
    model = Model()
    territories = ["T1", "T2", "T3", None]
    before: dict[tuple[str, str, str], Row] = {}
    for _ in range(12):
        for _ in range(rng.randint(0, 8)):
            a = f"A{rng.randint(0, 7)}"
            c = f"C{rng.randint(0, 9)}"
            match rng.randint(0, 6):
                case 0 | 1:
                    model.accounts[a] = {"AccountName": f"n{rng.randint(0, 1)}", "TerritoryId": rng.choice(territories)}
                    put(warehouse, "account", a, **model.accounts[a])
                case 2:
                    model.accounts.pop(a, None)
                    put(warehouse, "account", a, "deleted", TerritoryId="T1")
                case 3:
                    model.contacts[c] = {"ContactLastName": f"n{rng.randint(0, 1)}", "AccountId": a}
                    put(warehouse, "contact", c, **model.contacts[c])
                case 4:
                    model.links[c] = {f"A{rng.randint(0, 7)}" for _ in range(rng.randint(0, 2))}
                    link(warehouse, c, model.links[c])
                case 5:
                    model.contacts.pop(c, None)
                    put(warehouse, "contact", c, "lost", AccountId=a)
                case 6:
                    model.orders[c] = {"BusinessAccountId": a}
                    put(warehouse, "order", c, BusinessAccountId=a)
        result = derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
        after = model.view()
        got = published_view(warehouse)
        assert set(got) == set(after)
        for key, row in after.items():
            obj = CATALOG[key[1]]
            assert got[key] == {obj.id_member: key[2]} | {m: row.get(f) for f, m in obj.members.items()}
        assert not any(differences(warehouse).values()), differences(warehouse)
        counts = (
            len(after.keys() - before.keys()),
            sum(1 for key in after.keys() & before.keys() if after[key] != before[key]),
            len(before.keys() - after.keys()),
        )
        assert (0, 0, 0) if result is None else (result.inserted, result.updated, result.deleted) == counts
        before = dict(after)


def test_a_row_that_changes_and_changes_back_before_a_publication_is_not_published(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    put(warehouse, "account", "A", AccountName="one", TerritoryId="T1")
    assert derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD) is not None
    put(warehouse, "account", "A", AccountName="two", TerritoryId="T2")
    put(warehouse, "account", "A", AccountName="one", TerritoryId="T1")
    assert derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD) is None


def test_digests_follow_the_published_definition(warehouse: duckdb.DuckDBPyConnection) -> None:
    put(warehouse, "account", "A", AccountName="Käthe & Söhne", TerritoryId="T1")
    put(warehouse, "account", "B", TerritoryId="T1")
    derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    total = 0
    for row_id, body in warehouse.execute("SELECT row_id, body FROM row_body").fetchall():
        version = hashlib.sha256(body.encode()).hexdigest()[:16]
        total += int(hashlib.sha256(f"account|{row_id}|{version}".encode()).hexdigest()[:16], 16)
    assert warehouse.execute("SELECT rows, digest FROM territory_head").fetchall() == [(2, total % 2**64)]


def test_pending_reads_prevent_a_publication(warehouse: duckdb.DuckDBPyConnection) -> None:
    put(warehouse, "account", "A", TerritoryId="T1")
    warehouse.execute(
        "INSERT INTO read_requests (object, kind, value, requested_at) VALUES ('account', 'id', 'B', ?)", [NOW]
    )
    with pytest.raises(ReadsPendingError, match="1 reads"):
        derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    assert warehouse.execute("SELECT count(*) FROM publication").fetchone() == (0,)


def test_a_moved_row_moves_more_children_than_one_block_of_the_engine_holds(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    children = 130_000
    put(warehouse, "account", "A", TerritoryId="T1")
    warehouse.execute(
        "INSERT INTO snapshot.order (row_id, _state, BusinessAccountId)"
        f" SELECT 'O' || n, 'live', 'A' FROM range({children}) AS t(n)"
    )
    warehouse.execute("INSERT INTO touched SELECT 'order', row_id FROM snapshot.order")
    derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    put(warehouse, "account", "A", TerritoryId="T2")
    result = derive(warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    assert result is not None
    assert (result.inserted, result.deleted) == (children + 1, children + 1)
    assert not any(differences(warehouse).values())
