"""What the operator guide describes, done by clicks in the Dagster UI (headless Chromium) of a whole running system."""

from __future__ import annotations

import pytest
from dagster import DagsterEventType, DagsterRunStatus
from playwright.sync_api import expect

from tests.ui.desk import PATIENCE_SECONDS, Desk
from tests.ui.pages import PATIENCE_MS, DagsterPages
from tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.processes]

SUCCESS, FAILURE = DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE


def test_the_graph_shows_all_groups_in_the_order_in_which_data_flows(ui: DagsterPages) -> None:
    ui.graph()
    places = []
    for group in ("ingest", "snapshots", "deltas", "reconciliation"):
        # The last match: the list on the left has the name, too.
        shown = ui.page.get_by_text(group, exact=True).last
        expect(shown).to_be_visible(timeout=PATIENCE_MS)
        box = shown.bounding_box()
        assert box is not None
        places.append(box["x"])
    assert places == sorted(places)
    ui.page.get_by_text("deltas", exact=True).last.click()
    ui.see("territory_deltas")
    ui.picture("graph")


def test_the_preflight_report_is_shown_in_its_run(ui: DagsterPages, desk: Desk) -> None:
    ui.launch("preflight", "preflight-launch")
    desk.wait_for_run("preflight", SUCCESS)
    ui.see("RUN_SUCCESS")
    ui.open_report()
    ui.see("Modification Tracking")
    ui.picture("preflight")


def test_an_alignment_file_is_dry_run_and_announced_before_the_crm_changes(ui: DagsterPages, desk: Desk) -> None:
    left, right = desk.territories()[2:4]
    names = desk.names()
    accounts = [row["Id"] for row in desk.records("Account") if row["TerritoryId"] == left]
    moved = accounts[: len(accounts) * 6 // 10]
    file = desk.home / "moves.csv"
    file.write_text("account,from,to\n" + "".join(f"{one},{names[left]},{names[right]}\n" for one in moved))
    config = {"file": str(file), "announce": True, "reason": "New quarter"}
    ui.launch("dry_run_alignment", "dry-run-launch", ops={"work_out_alignment": {"config": config}})
    desk.wait_for_run("dry_run_alignment", SUCCESS)
    ui.see("RUN_SUCCESS")
    ui.open_report()
    ui.see("rows in")
    ui.picture("dry-run")
    known = desk.run_ids("sync")
    for one in moved:
        desk.control("update", object="Account", id=one, fields={"TerritoryId": right})
    for territory in (left, right):
        desk.wait_until_served(territory)
    # The guard lets announced moves pass.
    assert all(run.status is not FAILURE for run in desk.runs("sync") if run.run_id not in known)


def test_held_rows_are_seen_and_released_by_clicks(ui: DagsterPages, desk: Desk) -> None:
    territory = desk.territories()[0]
    desk.control("visibility", territory=territory)
    ui.launch("census", "census-launch")
    desk.wait_for_run("census", SUCCESS)
    ui.asset("territory_deltas", "checks")
    ui.see("nothing_held").click()
    ui.see("Run release_held_publication with a reason")
    ui.picture("held")
    before = desk.published_seq()
    config = {"reason": "Sales closed T001", "territories": [desk.names()[territory]]}
    ui.launch("release_held_publication", "release", ops={"release_held_rows": {"config": config}})
    desk.wait_for_run("release_held_publication", SUCCESS)
    assert desk.published_seq() == before + 1
    desk.control("visibility", seen=True)
    ui.launch("census", "census-launch")
    wait_until(lambda: desk.published_seq() > before + 1, PATIENCE_SECONDS, "what is in sight again is back")
    desk.expect_served(territory)


def test_territories_selected_in_the_dialog_are_rebuilt(ui: DagsterPages, desk: Desk) -> None:
    left, right = desk.territories()[2:4]
    names = [desk.names()[territory] for territory in (left, right)]
    desk.control("realign", **{"from": left, "to": right, "share": 0.1, "seed": 4, "events": False})
    ui.pick_partitions("territory_rebuild", names, "picker")
    desk.wait_for_run("__ASSET_JOB", SUCCESS)
    for territory in (left, right):
        desk.expect_served(territory)
    ui.asset("territory_rebuild", "partitions")
    ui.page.get_by_text(f"{names[0]} {left}").first.click()
    ui.see("rows_deleted")
    ui.picture("rebuilt")


def test_the_realign_job_reports_its_changes_per_territory(ui: DagsterPages, desk: Desk) -> None:
    left, right = desk.territories()[1:3]
    names = [desk.names()[territory] for territory in (left, right)]
    desk.control("realign", **{"from": left, "to": right, "share": 0.1, "seed": 5, "events": False})
    ui.launch("realign_territories", "realign", ops={"rebuild_territories": {"config": {"territories": names}}})
    desk.wait_for_run("realign_territories", SUCCESS)
    for territory in (left, right):
        desk.expect_served(territory)
    ui.see("RUN_SUCCESS")
    ui.open_report()
    ui.see("rows now")
    ui.picture("realigned")


def test_publications_and_metadata_are_plotted(ui: DagsterPages, desk: Desk) -> None:
    ui.asset("territory_deltas", "events")
    plot = ui.page.get_by_role("img", name="insert, update, delete").first
    expect(plot).to_be_visible(timeout=PATIENCE_MS)
    expect(plot).to_have_js_property("complete", True, timeout=PATIENCE_MS)
    expect(plot).to_have_js_property("naturalWidth", 300, timeout=PATIENCE_MS)
    ui.picture("publications")
    ui.asset("territory_deltas")
    ui.page.get_by_text("Plots", exact=True).click()
    ui.see("crm_lag_seconds").scroll_into_view_if_needed()
    expect(ui.page.locator("canvas").first).to_be_visible(timeout=PATIENCE_MS)
    ui.picture("plots")


def test_sync_resumes_after_the_crm_was_unreachable(ui: DagsterPages, desk: Desk) -> None:
    desk.control("faults", kind="html", times=1000)
    try:
        said = "the CRM cannot be asked"
        wait_until(lambda: said in desk.sensor_says("crm_changes"), PATIENCE_SECONDS, "the sensor says so")
        ui.sensor("crm_changes")
        # The newest tick may not have ended yet.
        ui.page.get_by_text("0 runs requested").nth(1).hover()
        ui.see(said)
        ui.picture("outage")
    finally:
        desk.http.delete(f"http://127.0.0.1:{desk.crm_port}/control/faults")
    before = desk.published_seq()
    territory = desk.territories()[0]
    account = next(row["Id"] for row in desk.records("Account") if row["TerritoryId"] == territory)
    desk.control("update", object="Account", id=account, fields={"Priority": "Low"})
    desk.wait_until_served(territory)
    assert desk.published_seq() > before


def test_a_gap_of_27_days_causes_a_full_load_automatically(ui: DagsterPages, desk: Desk) -> None:
    left, right = desk.territories()[:2]
    known = desk.run_ids("sync")
    desk.control("realign", **{"from": left, "to": right, "share": 0.1, "seed": 6, "events": False})
    desk.control("clock", advance_seconds=27 * 86_400)
    # The sensor may launch one by itself, before or after this one; whichever comes first loads everything.
    ui.launch("sync", "sync")
    launched = ui.page.url.rpartition("/")[2]
    wait_until(
        lambda: desk.run_status(launched) is SUCCESS, PATIENCE_SECONDS, "the sync launched by hand has succeeded"
    )
    for territory in (left, right):
        desk.expect_served(territory)
    whole = [
        run.run_id
        for run in desk.runs("sync")
        if run.run_id not in known
        for event in desk.events_of(run.run_id, DagsterEventType.ASSET_MATERIALIZATION)
        if "| full load |" in event
    ]
    assert whole
    ui.asset("modification_records", "events")
    ui.see("full_load")


def test_no_event_of_any_run_contains_personal_data(desk: Desk) -> None:
    personal = desk.personal_data()
    assert len(personal) > 300
    text = "\n".join(event for run in desk.instance.get_runs() for event in desk.events_of(run.run_id))
    assert "rows_inserted" in text
    assert not [value for value in personal if value in text]
