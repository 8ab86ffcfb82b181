"""Damaged stores and changed catalogs with real processes: named, mended, and nothing lost for devices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.damage import DAMAGES
from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.steps import loaded_system
from tests.e2e.system import PROJECT, System

pytestmark = pytest.mark.e2e


def a_territory(system: System) -> str:
    return str(min(r["TerritoryId"] for r in system.records("Account") if r["TerritoryId"]))


def device_of(system: System, territory: str, name: str) -> Device:
    return Device(name, system.service, f"/v1/territories/{territory}/delta", system.token(territory))


def edit_an_account(system: System, text: str) -> None:
    account = Oracle(system).ids("account")[0]
    system.control("update", object="Account", id=account, fields={"Status": text})


@pytest.mark.parametrize(
    ("mended_by", "damage"),
    [
        *[("sync", damage) for damage in ("truncated", "header_zeroed", "random_pages")],
        # A sync does not read what it does not change; verify finds a changed value.
        *[
            ("rebuild_delta_store", damage)
            for damage in ("truncated", "header_zeroed", "random_pages", "value_overwritten")
        ],
    ],
)
def test_a_damaged_delta_store_is_named_and_mended(system: System, damage: str, mended_by: str) -> None:
    territory = a_territory(system)
    before = device_of(system, territory, "before")
    before.poll(system.http, limit=100)
    DAMAGES[damage](system.home / "delta.sqlite")
    if damage == "header_zeroed":
        # What a running service has read stays good; one that starts sees it.
        system.kill("service")
        system.start_service()
        answer = system.http.get(f"{system.service}/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
        assert "damaged" in answer.json()["detail"]
    if mended_by == "rebuild_delta_store":
        printed = system.run_job("verify")
        assert "digests_agree" in printed
    edit_an_account(system, f"{damage} {mended_by}")
    if mended_by == "rebuild_delta_store":
        system.run_job("rebuild_delta_store")
    system.run_job("sync")
    system.wait_served()
    expected = Oracle(system).view({territory})
    for device in (before, device_of(system, territory, "after")):
        device.poll(system.http, limit=100)
        device.expect(expected)


def test_a_service_that_starts_without_a_usable_store_serves_once_it_is_mended(system: System) -> None:
    DAMAGES["emptied"](Path(system.home) / "delta.sqlite")
    system.kill("service")
    system.start_service()
    answer = system.http.get(f"{system.service}/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert "damaged" in answer.json()["detail"]
    system.run_job("rebuild_delta_store")
    system.wait_published()


def test_an_object_taken_out_of_the_catalog_leaves_the_devices_and_comes_back(tmp_path: Path) -> None:
    with loaded_system(tmp_path, accounts=60, territories=3, seed=6) as system:
        territory = a_territory(system)
        device = device_of(system, territory, "device")
        device.poll(system.http, limit=100)
        assert device.rows["order"]
        shipped = (PROJECT / "orchestration/objects.yaml").read_text()
        fewer = tmp_path / "objects.yaml"
        fewer.write_text(shipped[: shipped.index("\n  order:")])
        system.environment["OBJECT_CATALOG"] = str(fewer)
        for job in ("sync", "rebuild_delta_store", "verify"):
            system.run_job(job)
        system.wait_served()
        device.poll(system.http, limit=100)
        assert not device.rows["order"]
        assert device.rows["account"]
        del system.environment["OBJECT_CATALOG"]
        system.run_job("sync")
        system.wait_served()
        device.poll(system.http, limit=100)
        device.expect(Oracle(system).view({territory}))


def test_a_field_of_another_type_is_served_anew_from_what_was_read(system: System, tmp_path: Path) -> None:
    territory = a_territory(system)
    system.run_job("sync")
    shipped = (PROJECT / "orchestration/objects.yaml").read_text()
    other = tmp_path / "objects.yaml"
    other.write_text(
        shipped.replace("      Revenue: decimal\n", "      Revenue: string\n").replace(
            "      OpportunityName: string\n", "      OpportunityName: int\n"
        )
    )

    def opportunities() -> list[dict[str, object]]:
        url, token = f"{system.service}/v1/territories/{territory}/delta", system.token(territory)
        rows: list[dict[str, object]] = system.http.get(url, headers={"Authorization": f"Bearer {token}"}).json()[
            "opportunity"
        ]["insert"]
        return rows

    before = opportunities()
    assert any(isinstance(row["revenue"], float | int) for row in before)
    system.environment["OBJECT_CATALOG"] = str(other)
    try:
        system.run_job("sync")
        system.run_job("verify")
        system.wait_served()
        # No name is a number: each row is in quarantine and as it was last good.
        assert opportunities() == before
        other.write_text(shipped.replace("      Revenue: decimal\n", "      Revenue: string\n"))
        system.run_job("sync")
    finally:
        del system.environment["OBJECT_CATALOG"]
    system.wait_served()
    assert {type(row["revenue"]) for row in opportunities()} <= {str, type(None)}
    system.run_job("sync")
    system.wait_served()
    assert opportunities() == before


def test_a_notebook_that_holds_the_warehouse_is_waited_for_and_then_named(system: System) -> None:
    held = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(300)"
    warehouse = str(system.home / "warehouse.duckdb")
    system.environment["WAREHOUSE_LOCK_WAIT_SECONDS"] = "3"
    with subprocess.Popen([sys.executable, "-c", held, warehouse], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            printed = system.run_job("sync", expect_success=False)
        finally:
            process.kill()
            del system.environment["WAREHOUSE_LOCK_WAIT_SECONDS"]
    assert f"The warehouse is in use by process {process.pid}" in printed
    assert "not foreseen" not in printed
    system.run_job("sync")
