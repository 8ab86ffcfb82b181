"""The device page in headless Chromium, against the real service, pipeline and simulator."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page, sync_playwright

from tests.e2e.oracle import Oracle
from tests.e2e.steps import loaded_system
from tests.e2e.system import PROJECT, System
from tests.waiting import wait_until

CHROMIUM = shutil.which("chromium")
ARTIFACTS = PROJECT / "test-artifacts"

ABSENT = "chromium is not installed: the device page is NOT tested"
if CHROMIUM is None:
    warnings.warn(ABSENT, stacklevel=1)
pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)]

SYNCED = "body[data-state=synced][data-identical=true]"
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with loaded_system(tmp_path_factory.mktemp("home"), accounts=150, territories=3, seed=9) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
        )
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    made = browser.new_context(viewport={"width": 1360, "height": 820}).new_page()
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made
    made.context.close()
    assert not errors


def territories(system: System) -> list[str]:
    return sorted({r["TerritoryId"] for r in system.records("Account") if r["TerritoryId"]})


def token(system: System) -> str:
    return system.token(*territories(system))


def open_device(page: Page, system: System, territory: str) -> None:
    page.goto(f"{system.service}/device/?territory={territory}#token={token(system)}")
    page.wait_for_selector(SYNCED, timeout=PATIENCE_MS)


def shown_counts(frame: Page | Frame) -> list[int]:
    return [int(chip.inner_text().replace(",", "")) for chip in frame.query_selector_all("#counts b")]


def expected_counts(system: System, territory: str) -> list[int]:
    return [len(rows) for rows in Oracle(system).view({territory}).values()]


def in_database(page: Page, territory: str, expression: str) -> Any:
    """The result of a request on the device's own database, in a transaction of its own."""
    script = """async (name) => {
        const open = indexedDB.open(`territory-delta/${name}`, 1);
        await new Promise((done) => (open.onsuccess = done));
        const database = open.result.transaction(["rows", "sync"], "readwrite");
        const request = EXPRESSION;
        await new Promise((done) => (database.oncomplete = done));
        open.result.close();
        return request.result;
    }"""
    return page.evaluate(script.replace("EXPRESSION", expression), territory)


def test_a_first_sync_shows_the_territory_and_proves_it_identical(page: Page, system: System) -> None:
    territory = territories(system)[0]
    open_device(page, system, territory)
    assert shown_counts(page) == expected_counts(system, territory)
    assert "token" not in page.url
    page.click(".account >> nth=0")
    page.wait_for_selector("#detail h3")
    view = Oracle(system).view({territory})
    others = [row for row in view["contact"].values() if row["accountId"] not in view["account"]]
    assert page.inner_text("#others") == (f"Other contacts · {len(others)}" if others else "")
    page.fill("#search", "no such account")
    assert page.query_selector_all(".account") == []
    assert page.inner_text("#found") == "0 accounts found"


def test_realigned_accounts_move_from_one_device_to_the_other_without_a_reload(page: Page, system: System) -> None:
    left, right = territories(system)[:2]
    page.goto(f"{system.service}/device/pair.html?left={left}&right={right}#token={token(system)}")
    wait_until(lambda: len([f for f in page.frames if "index.html" in f.url]) == 2, 10, "two devices")
    frames = [next(f for f in page.frames if f"territory={t}" in f.url) for t in (left, right)]
    for frame in frames:
        frame.wait_for_selector(SYNCED, timeout=PATIENCE_MS)
    moved = system.control("realign", **{"from": left, "to": right, "share": 0.1, "seed": 1})["touched"]["Account"]
    system.control("clock", advance_seconds=3)
    system.run_job("sync")
    frames[0].wait_for_selector(".account.left", timeout=PATIENCE_MS)
    frames[1].wait_for_selector(".account.arrived", timeout=PATIENCE_MS)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "pair.png")
    for frame, territory, mark in zip(frames, (left, right), ("left", "arrived"), strict=True):
        frame.wait_for_selector(SYNCED, timeout=PATIENCE_MS)
        assert shown_counts(frame) == expected_counts(system, territory)
        marked = {row.get_attribute("data-id") for row in frame.query_selector_all(f".account.{mark}")}
        assert marked == set(moved)


def test_the_device_survives_a_restart_of_the_service_and_resumes_from_its_database(page: Page, system: System) -> None:
    territory = territories(system)[1]
    open_device(page, system, territory)
    system.kill("service")
    page.wait_for_selector("body[data-state=waiting]", timeout=PATIENCE_MS)
    system.start_service()
    page.wait_for_selector(SYNCED, timeout=PATIENCE_MS)
    page.reload()
    page.wait_for_selector(SYNCED, timeout=PATIENCE_MS)
    assert "loaded" not in page.inner_text("#log")
    assert shown_counts(page) == expected_counts(system, territory)


@pytest.mark.parametrize("cursor", ["nonsense", "999999"])
def test_an_invalid_cursor_is_repaired_without_loading_everything(page: Page, system: System, cursor: str) -> None:
    territory = territories(system)[2]
    open_device(page, system, territory)
    in_database(page, territory, f'database.objectStore("sync").put("{cursor}", "cursor")')
    page.reload()
    page.wait_for_selector(SYNCED, timeout=PATIENCE_MS)
    assert shown_counts(page) == expected_counts(system, territory)
    assert "loaded" not in page.inner_text("#log")


def test_rows_lost_on_the_device_are_detected_and_repaired(page: Page, system: System) -> None:
    territory = territories(system)[2]
    open_device(page, system, territory)
    in_database(page, territory, 'database.objectStore("rows").delete(IDBKeyRange.bound(["order"], ["order", []]))')
    page.reload()
    page.wait_for_selector("#log .problem", timeout=PATIENCE_MS)
    page.wait_for_selector(SYNCED, timeout=PATIENCE_MS)
    orders = len(Oracle(system).view({territory})["order"])
    assert f"{orders} rows arrived" in page.inner_text("#log")
    assert shown_counts(page) == expected_counts(system, territory)


def test_a_device_whose_token_lost_the_territory_deletes_its_rows(page: Page, system: System) -> None:
    lost, kept = territories(system)[:2]
    open_device(page, system, lost)
    page.goto(f"{system.service}/device/?territory={lost}&again#token={system.token(kept)}")
    page.wait_for_selector("body[data-state=refused]", timeout=PATIENCE_MS)
    page.wait_for_selector(".account.left", timeout=PATIENCE_MS)
    rows_left = in_database(page, lost, 'database.objectStore("rows").count()')
    assert rows_left == 0


def test_without_a_valid_token_only_the_token_form_is_shown(page: Page, system: System) -> None:
    page.goto(f"{system.service}/device/#token=nonsense")
    page.wait_for_selector("body[data-state=refused]", timeout=PATIENCE_MS)
    assert page.is_visible("#token-form")
    assert page.query_selector_all(".account") == []
