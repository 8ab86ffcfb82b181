"""The guard with real processes: what the CRM proves arrives without a person, what it does not prove is held.

Each test uses territories of its own, and leaves nothing held.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from orchestration import inspect
from orchestration.catalog import load_catalog
from orchestration.pipeline.warehouse import open_warehouse, scalar
from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.steps import check_recompute, job_config, kill_after, loaded_system
from tests.e2e.system import System

pytestmark = pytest.mark.e2e

TERRITORIES = 10


class Guarded:
    """A system with the default guard, and a device in each territory."""

    def __init__(self, system: System) -> None:
        self.system = system
        records = system.records("Territory")
        self.names = {record["Id"]: record["TerritoryName"] for record in records}
        territories = {record["TerritoryId"] for record in system.records("Account")}
        self.territories = sorted(t for t in territories if t)
        self.devices = {
            t: Device(t, system.service, f"/v1/territories/{t}/delta", system.token(t)) for t in self.territories
        }

    def sync(self, job: str = "sync", *options: str) -> str:
        self.system.control("clock", advance_seconds=3)
        return self.system.run_job(job, *options)

    def poll(self, *territories: str) -> None:
        self.system.wait_served()
        for territory in territories:
            self.devices[territory].poll(self.system.http, limit=500)

    def expect(self, *territories: str) -> None:
        """Devices hold exactly what the CRM has."""
        self.poll(*territories)
        truth = Oracle(self.system)
        for territory in territories:
            self.devices[territory].expect(truth.view({territory}))

    def held(self) -> dict[str, int]:
        """Held rows by territory's name."""
        frame = inspect.held(file=self.system.home / "warehouse.duckdb")
        return {str(name): int(rows) for name, rows in frame.groupby("territory")["rows"].sum().items()}

    def unproven_rows(self) -> int:
        """Rows about which the CRM's answers prove nothing: held, or asked for without a sound answer."""
        path = self.system.home / "warehouse.duckdb"
        with open_warehouse(path, load_catalog(), wait_seconds=10) as connection:
            unanswered = scalar(connection, "SELECT count(*) FROM read_requests WHERE unanswered")
        return unanswered + sum(self.held().values())

    def evidence(self, territory: str) -> set[str]:
        frame = inspect.held(territory, file=self.system.home / "warehouse.duckdb")
        return set(frame["evidence"]) - {"with its parent"}

    def accounts(self, territory: str) -> list[str]:
        return sorted(r["Id"] for r in self.system.records("Account") if r["TerritoryId"] == territory)

    def see(self, seen: bool, **what: Any) -> None:
        self.system.control("visibility", seen=seen, **what)

    def edit(self, territory: str, text: str) -> None:
        account = self.accounts(territory)[0]
        self.system.control("update", object="Account", id=account, fields={"AccountName": text})

    def realign(self, source: str, target: str, share: float) -> None:
        self.system.control("realign", **{"from": source, "to": target, "share": share, "seed": 1})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with loaded_system(tmp_path_factory.mktemp("home"), accounts=300, territories=TERRITORIES, seed=31) as system:
        made = Guarded(system)
        made.expect(*made.territories)
        yield made


@pytest.fixture(autouse=True)
def nothing_stays_held(guarded: Guarded) -> Iterator[None]:
    yield
    assert guarded.held() == {}


def rows_of(device: Device) -> dict[str, set[str]]:
    return {obj: set(rows) for obj, rows in device.rows.items()}


def test_a_realignment_with_events_is_published_at_once_in_one_go_and_in_slices(guarded: Guarded) -> None:
    source, target = guarded.territories[:2]
    guarded.realign(source, target, 0.45)
    printed = guarded.sync()
    assert "Published" in printed
    guarded.expect(source, target)
    for share in (0.3, 0.5):
        guarded.realign(source, target, share)
        guarded.sync()
        guarded.expect(source, target)
    guarded.realign(source, target, 1.0)
    guarded.sync()
    guarded.expect(source, target)
    assert guarded.devices[source].rows["account"] == {}


def test_sight_of_a_territory_is_lost_and_comes_back_and_nothing_was_ever_deleted(guarded: Guarded) -> None:
    lost, elsewhere = guarded.territories[2:4]
    before = rows_of(guarded.devices[lost])
    operations = guarded.devices[lost].operations
    guarded.see(False, territory=lost)
    guarded.edit(elsewhere, "edited meanwhile")
    printed = guarded.sync("census")
    assert "nothing_held" in printed
    assert "release_held_publication" in printed
    assert set(guarded.held()) == {guarded.names[lost]}
    assert guarded.evidence(lost) == {"vanished", "unlinked"}
    guarded.expect(elsewhere)
    guarded.edit(elsewhere, "edited once more")
    guarded.sync()
    guarded.expect(elsewhere)
    guarded.see(True, territory=lost)
    guarded.sync("sweep")
    guarded.expect(lost)
    assert rows_of(guarded.devices[lost]) == before
    assert guarded.devices[lost].operations == operations


def test_a_contact_that_changes_while_one_of_its_accounts_is_out_of_sight_arrives_where_it_belongs(
    guarded: Guarded,
) -> None:
    """Its list would lack that account in any case: this link alone stays, and all else that was read is published."""
    lost, left, joined = guarded.territories[2:5]
    system = guarded.system
    hidden, target = guarded.accounts(lost)[0], guarded.accounts(joined)[0]
    territory_of = {record["Id"]: record["TerritoryId"] for record in system.records("Account")}
    moving = [
        contact
        for contact in system.records("Contact")
        if {territory_of.get(account) for account in (contact["AccountId"], *contact["accounts"])} == {left}
    ][:3]
    for contact in moving:
        system.control("link", contact=contact["Id"], account=hidden)
    guarded.sync()
    guarded.expect(lost, left, joined)
    guarded.see(False, territory=lost)
    guarded.sync("census")
    for contact in moving:
        fields = {"AccountId": target, "JobTitle": "now elsewhere"}
        system.control("update", object="Contact", id=contact["Id"], fields=fields)
        for account in contact["accounts"]:
            system.control("unlink", contact=contact["Id"], account=account)
    guarded.sync()
    guarded.expect(left, joined)
    guarded.poll(lost)
    for contact in moving:
        assert "now elsewhere" in guarded.devices[lost].rows["contact"][contact["Id"]].values()
    guarded.see(True, territory=lost)
    guarded.sync("census")
    guarded.expect(lost, left, joined)


def test_access_to_a_field_is_lost_and_nothing_is_wiped(guarded: Guarded) -> None:
    territories = guarded.territories
    operations = {t: guarded.devices[t].operations for t in territories}
    for obj, field in (("Account", "TerritoryId"), ("Opportunity", "AccountId"), ("Order", "BusinessAccountId")):
        guarded.see(False, object=obj, field=field)
    guarded.sync("full_load")
    assert guarded.evidence(territories[1]) == {"blanked"}
    guarded.system.control("visibility", seen=True)
    guarded.sync("sweep")
    guarded.expect(*territories)
    assert {t: guarded.devices[t].operations for t in territories} == operations


@pytest.mark.parametrize(("kind", "most_lost_share"), [("empty_list", 0.0), ("half_list", 0.02)])
def test_an_empty_or_halved_answer_to_a_full_load_wipes_nothing(
    guarded: Guarded, kind: str, most_lost_share: float
) -> None:
    """Of answers that lack every second row, some have their witness, and a row may be missing from two of these."""
    territories = guarded.territories
    operations = {t: guarded.devices[t].operations for t in territories}
    for name in ("Account", "Contact", "Order"):
        guarded.system.control("faults", operation=f"{name}QueryPage", kind=kind, times=10_000)
    guarded.sync("full_load")
    assert guarded.unproven_rows()
    guarded.poll(*territories)
    assert guarded.system.http.delete(f"http://127.0.0.1:{guarded.system.crm_port}/control/faults").status_code == 200
    guarded.sync("sweep")
    guarded.expect(*territories)
    for territory, before in operations.items():
        device = guarded.devices[territory]
        rows = sum(map(len, device.rows.values()))
        # A row that was lost is deleted, and comes back.
        assert (device.operations - before) / 2 <= most_lost_share * rows


def test_a_doubtful_loss_in_slices_is_held_once_the_sum_of_the_window_passes_the_share(guarded: Guarded) -> None:
    territory = guarded.territories[4]
    accounts = guarded.accounts(territory)
    tenth = max(1, len(accounts) // 10)
    held = []
    for start in range(0, 10 * tenth, tenth):
        slice_ = accounts[start : start + tenth]
        for account in slice_:
            guarded.system.control("update", object="Account", id=account, fields={"Status": f"slice {start}"})
        guarded.see(False, object="Account", ids=slice_)
        guarded.sync()
        held.append(bool(guarded.held()))
    assert held[0] is False
    assert held == sorted(held)
    assert held[-1]
    guarded.poll(territory)
    left = len(guarded.devices[territory].rows["account"])
    assert left >= 0.6 * len(accounts)
    guarded.see(True, object="Account", ids=accounts)
    guarded.sync("census")
    guarded.expect(territory)


def test_a_mass_delete_that_events_prove_is_published(guarded: Guarded) -> None:
    territory = guarded.territories[5]
    for account in guarded.accounts(territory):
        guarded.system.control("delete", object="Account", id=account, events="delete")
    guarded.sync()
    guarded.expect(territory)
    assert guarded.devices[territory].rows["account"] == {}


def test_accounts_that_name_a_territory_the_list_does_not_have_stay_until_it_is_listed(guarded: Guarded) -> None:
    source, target = guarded.territories[6:8]
    guarded.see(False, object="Territory", ids=[target])
    guarded.sync("census")
    guarded.realign(source, target, 0.6)
    guarded.sync()
    assert guarded.evidence(source) == {"unknown target"}
    before = rows_of(guarded.devices[source])
    guarded.poll(source)
    assert rows_of(guarded.devices[source]) == before
    guarded.see(True, object="Territory", ids=[target])
    guarded.sync("census")
    guarded.expect(source, target)


def test_what_is_held_is_released_and_rejected_for_one_territory_and_for_all(guarded: Guarded) -> None:
    system = guarded.system
    first, second = guarded.territories[8:10]
    for territory in (first, second):
        guarded.see(False, territory=territory)
    guarded.sync("census")
    assert set(guarded.held()) == {guarded.names[first], guarded.names[second]}
    before, shared = rows_of(guarded.devices[second]), rows_of(guarded.devices[first])

    def decide(op: str, expect_success: bool = True, **values: Any) -> str:
        job = {"release_held_rows": "release_held_publication", "reject_held_rows": "reject_held_publication"}[op]
        return system.run_job(job, *job_config(system, op, **values), expect_success=expect_success)

    assert "needs a reason" in decide("release_held_rows", expect_success=False, reason="  ")
    refused = decide("release_held_rows", expect_success=False, reason="meant", territories=["Nowhere"])
    assert "territory Nowhere is not known" in refused
    printed = decide("release_held_rows", reason="the region is closed", territories=[guarded.names[first]])
    assert f"rows of {guarded.names[first]} ({first})" in printed
    guarded.poll(first, second)
    assert not any(guarded.devices[first].rows.values())
    # A row has one reading: one that both territories see leaves both. All others stay.
    kept = rows_of(guarded.devices[second])
    assert all(before[name] - shared[name] <= kept[name] <= before[name] for name in before)
    assert set(guarded.held()) == {guarded.names[second]}

    decide("reject_held_rows", reason="the integration user's role is mended")
    guarded.sync()
    assert set(guarded.held()) == {guarded.names[second]}
    for territory in (first, second):
        guarded.see(True, territory=territory)
    decide("reject_held_rows", reason="now it is")
    guarded.sync()
    # What left with the first territory comes back with the census.
    assert "Nothing is held" in decide("release_held_rows", expect_success=False, reason="again")
    guarded.sync("census")
    guarded.expect(first, second)
    decisions = inspect.decisions(file=system.home / "warehouse.duckdb")
    assert list(decisions["decision"]) == ["reject", "reject", "release"]
    assert list(decisions["reason"])[-1] == "the region is closed"
    assert decisions["decided_by"].all()


def test_held_rows_that_are_then_proven_deleted_go_and_come_back_when_they_are_restored(guarded: Guarded) -> None:
    territory = guarded.territories[3]
    accounts = guarded.accounts(territory)
    hide(guarded, accounts)
    guarded.sync()
    assert guarded.held()
    for account in accounts:
        guarded.system.control("delete", object="Account", id=account)
    guarded.sync()
    guarded.expect(territory)
    assert guarded.devices[territory].rows["account"] == {}
    guarded.see(True, object="Account", ids=[])
    guarded.system.control("visibility", seen=True)
    for account in accounts:
        guarded.system.control("restore", object="Account", id=account)
    guarded.sync()
    guarded.expect(territory)
    assert set(guarded.devices[territory].rows["account"]) == set(accounts)


def test_kills_while_rows_are_held_and_released_change_nothing(guarded: Guarded) -> None:
    territory, elsewhere = guarded.territories[2:4]
    system, names = guarded.system, guarded.names
    guarded.expect(territory)
    before = rows_of(guarded.devices[territory])
    started = time.monotonic()
    guarded.sync("census")
    usual_seconds = time.monotonic() - started
    kills = [usual_seconds * tenth / 10 for tenth in range(2, 10, 2)]

    guarded.see(False, territory=territory)
    guarded.edit(elsewhere, "edited while runs are killed")
    killed = sum(kill_after(system, "census", seconds) for seconds in kills)
    guarded.sync("census")
    assert set(guarded.held()) == {names[territory]}
    guarded.expect(elsewhere)
    guarded.poll(territory)
    assert rows_of(guarded.devices[territory]) == before

    config = job_config(system, "release_held_rows", reason="sight is lost for good", territories=[names[territory]])
    killed += sum(kill_after(system, "release_held_publication", seconds, *config) for seconds in kills)
    # One that was killed after its commit has released them, and the next run of any kind brings that to the devices.
    if guarded.held():
        system.run_job("release_held_publication", *config)
    else:
        guarded.sync()
    assert guarded.held() == {}
    guarded.poll(territory)
    assert not any(guarded.devices[territory].rows.values())

    guarded.see(True, territory=territory)
    killed += sum(kill_after(system, "census", seconds) for seconds in kills)
    guarded.sync("census")
    guarded.expect(*guarded.territories)
    assert killed >= len(kills)
    check_recompute(system.home)


def test_proven_moves_that_nobody_announced_are_held_where_the_operator_wants_it(guarded: Guarded) -> None:
    system = guarded.system
    source, target = guarded.territories[8:10]
    guarded.expect(source)
    before = rows_of(guarded.devices[source])
    system.environment["DELTA_GUARD_MOVED_SHARE"] = "0.3"
    try:
        guarded.realign(source, target, 0.6)
        guarded.edit(guarded.territories[7], "edited beside it")
        guarded.sync()
        assert guarded.evidence(source) == {"moved"}
        guarded.expect(guarded.territories[7])
        guarded.poll(source)
        assert rows_of(guarded.devices[source]) == before
        system.run_job("release_held_publication", *job_config(system, "release_held_rows", reason="it was planned"))
    finally:
        del system.environment["DELTA_GUARD_MOVED_SHARE"]
    guarded.expect(source, target)


def hide(guarded: Guarded, accounts: Iterable[str]) -> None:
    """Out of sight, and an event of each makes it be read."""
    for account in accounts:
        guarded.system.control("update", object="Account", id=account, fields={"Status": "hidden"})
    guarded.see(False, object="Account", ids=list(accounts))
