"""What an operator runs by hand, as real jobs: realign_territories, the guard's release, preflight, compact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.system import System, running_system

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("home"), DELTA_GUARD_MIN_ROWS="100000") as made:
        made.start_crm(accounts=120, territories=4, seed=21)
        made.run_job("full_load")
        made.start_service()
        made.wait_published()
        yield made


def config(system: System, op: str, **values: object) -> list[str]:
    path = Path(system.home) / f"{op}.yaml"
    path.write_text(yaml.safe_dump({"ops": {op: {"config": values}}}))
    return ["-c", str(path)]


def territories(system: System) -> list[str]:
    return sorted({r["TerritoryId"] for r in system.records("Account") if r["TerritoryId"]})


def check_device(system: System, territory: str) -> None:
    device = Device(territory, system.service, f"/v1/territories/{territory}/delta", system.token(territory))
    system.wait_served()
    device.poll(system.http, limit=500)
    device.expect(Oracle(system).view({territory}))


def test_a_realignment_without_events_is_put_right_by_one_run_for_both_sides(system: System) -> None:
    left, right = territories(system)[:2]
    names = {record["Id"]: record["TerritoryName"] for record in system.records("Territory")}
    system.control("realign", **{"from": left, "to": right, "share": 0.3, "seed": 2, "events": False})
    chosen = config(system, "rebuild_territories", territories=[names[left], right])
    printed = system.run_job("realign_territories", *chosen)
    assert f"| {names[left]} | 0 | " in printed
    for territory in (left, right):
        check_device(system, territory)


def test_a_territory_that_is_not_known_is_refused_by_name(system: System) -> None:
    chosen = config(system, "rebuild_territories", territories=["T999"])
    assert "territory T999 is not known" in system.run_job("realign_territories", *chosen, expect_success=False)


def test_a_held_publication_waits_for_a_reason_and_then_passes(system: System) -> None:
    left, right = territories(system)[2:4]
    system.control("realign", **{"from": left, "to": right, "share": 0.6, "seed": 3})
    system.control("clock", advance_seconds=3)
    system.environment["DELTA_GUARD_MIN_ROWS"] = "20"
    before = system.http.get(f"{system.service}/readyz").json()["publishedSeq"]
    assert "release_held_publication" in system.run_job("sync", expect_success=False)
    system.run_job("release_held_publication", *config(system, "release_held_rows", reason="it is meant"))
    system.run_job("sync")
    system.environment["DELTA_GUARD_MIN_ROWS"] = "100000"
    for territory in (left, right):
        check_device(system, territory)
    assert system.http.get(f"{system.service}/readyz").json()["publishedSeq"] == before + 1


def test_the_preflight_reports_what_the_pod_allows(system: System) -> None:
    printed = system.run_job("preflight")
    assert "| Account | good | " in printed


def test_compact_and_a_rebuilt_store_change_no_answer(system: System) -> None:
    system.run_job("compact")
    system.run_job("rebuild_delta_store")
    for territory in territories(system):
        check_device(system, territory)
