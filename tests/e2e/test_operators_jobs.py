"""What an operator runs by hand, as real jobs: realign_territories, replays, preflight, compact."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import duckdb
import pytest

from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.steps import check_recompute, job_config, loaded_system
from tests.e2e.system import System
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with loaded_system(
        tmp_path_factory.mktemp("home"), accounts=120, territories=4, seed=21, DELTA_GUARD_MIN_ROWS="100000"
    ) as made:
        yield made


def territories(system: System) -> list[str]:
    return sorted({r["TerritoryId"] for r in system.records("Account") if r["TerritoryId"]})


def check_device(system: System, territory: str) -> None:
    device = Device(territory, system.service, f"/v1/territories/{territory}/delta", system.token(territory))
    system.wait_served()
    # A store that was replaced this very moment is answered by a 503, and devices ask again.
    wait_until(partial(device.poll_if_answered, system.http, limit=500), 30, "an answer")
    device.expect(Oracle(system).view({territory}))


def test_a_realignment_without_events_is_put_right_by_one_run_for_both_sides(system: System) -> None:
    left, right = territories(system)[:2]
    names = {record["Id"]: record["TerritoryName"] for record in system.records("Territory")}
    system.control("realign", **{"from": left, "to": right, "share": 0.3, "seed": 2, "events": False})
    chosen = job_config(system, "rebuild_territories", territories=[names[left], right])
    printed = system.run_job("realign_territories", *chosen)
    assert f"| {names[left]} | 0 | " in printed
    for territory in (left, right):
        check_device(system, territory)


def test_a_realignment_is_put_right_by_the_file_that_ordered_it(system: System) -> None:
    left, right = territories(system)[:2]
    records = {r["Id"]: r for r in system.records("Account") if r["TerritoryId"] == left}
    moves = "".join(f"{row_id},{left},{right}\n" for row_id in list(records)[:4])
    file = system.home / "moves.csv"
    file.write_text(f"account,from,to\n{moves}")
    for row_id in list(records)[:4]:
        fields = {"TerritoryId": right}
        system.control("update", object="Account", id=row_id, fields=fields, events=False)
    printed = system.run_job(
        "realign_territories", *job_config(system, "rebuild_territories", alignment_file=str(file))
    )
    assert "2 territories: " in printed
    assert "reads done after" in printed
    for territory in (left, right):
        check_device(system, territory)


def test_without_a_choice_all_territories_whose_accounts_moved_are_found(system: System) -> None:
    left, right, other = territories(system)[:3]
    before = system.http.get(f"{system.service}/readyz").json()["publishedSeq"]
    system.control("realign", **{"from": left, "to": other, "share": 0.2, "seed": 4, "events": False})
    system.control("realign", **{"from": other, "to": right, "share": 0.2, "seed": 5, "events": False})
    printed = system.run_job("realign_territories")
    assert "accounts are not where we have them in the CRM" in printed
    for territory in (left, right, other):
        check_device(system, territory)
    assert system.http.get(f"{system.service}/readyz").json()["publishedSeq"] == before + 1


def test_a_replayed_window_reads_again_what_its_events_name(system: System) -> None:
    account = next(r for r in system.records("Account") if r["TerritoryId"])
    since = system.control("update", object="Account", id=account["Id"], fields={"Status": "Active"})["server_time"]
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    # A later change that the CRM tells nothing about: only reading the row again finds it.
    system.control("update", object="Account", id=account["Id"], fields={"AccountName": "Renamed"}, events=False)
    printed = system.run_job("replay_window", *job_config(system, "replay_events", from_time=since))
    assert "1 rows differed" in printed
    check_device(system, account["TerritoryId"])


def test_a_window_beyond_the_log_is_refused_with_what_to_do_instead(system: System) -> None:
    chosen = job_config(system, "replay_events", from_time="2026-01-01T00:00:00Z")
    assert "Run census" in system.run_job("replay_window", *chosen, expect_success=False)


def test_a_territory_whose_tables_were_spoiled_is_derived_anew(system: System) -> None:
    territory = territories(system)[0]
    with duckdb.connect(str(system.home / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "DELETE FROM visibility WHERE territory = ? AND object = 'account' AND to_seq = (SELECT max(to_seq)"
            " FROM visibility)",
            [territory],
        )
        warehouse.execute("UPDATE territory_head SET digest = 7 WHERE territory = ?", [territory])
    printed = system.run_job(
        "rebuild_territory_tables", *job_config(system, "rederive_territories", territories=[territory])
    )
    assert "sizes or digests were wrong" in printed
    check_recompute(system.home)
    check_device(system, territory)


def test_a_territory_that_is_not_known_is_refused_by_name(system: System) -> None:
    chosen = job_config(system, "rebuild_territories", territories=["T999"])
    assert "territory T999 is not known" in system.run_job("realign_territories", *chosen, expect_success=False)


def test_the_preflight_reports_what_the_pod_allows(system: System) -> None:
    # As a user types it; this is the only job that reads no warehouse, so its seconds are those of the import.
    printed = system.run_job_by_command("preflight")
    assert "| Account | good | " in printed


def test_a_backup_compact_and_a_rebuilt_store_change_no_answer(system: System) -> None:
    system.run_job("backup", *job_config(system, "copy_stores", folder=str(system.home / "backups")))
    system.run_job("compact")
    system.run_job("rebuild_delta_store")
    for territory in territories(system):
        check_device(system, territory)
