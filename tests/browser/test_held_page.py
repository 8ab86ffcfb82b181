"""The device page while rows are held back, or the server is behind the CRM: it never says "identical" alone."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page, sync_playwright

from delta_service.store.changes import TerritoryHeld
from tests.browser.node import copied_modules, needs_node, run_node
from tests.clients.conftest import Served, bearer, served
from tests.clients.publications import TERRITORIES
from tests.delta_service.model import change_set

pytestmark = pytest.mark.processes

CHROMIUM = shutil.which("chromium")
ABSENT = "chromium is not installed: the device page is NOT tested"
if CHROMIUM is None:
    warnings.warn(ABSENT, stacklevel=1)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)

GREEN, OUTDATED = "body[data-state=synced]:not([data-outdated=true])", "body[data-state=synced][data-outdated=true]"
PATIENCE_MS = 15_000
NOW = "Tue, 24 Nov 2026 12:00:00 GMT"

SENTENCES = """
import { doubtsOf, freshnessOf } from "./freshness.js";
const told = (headers, laterMs) => doubtsOf(freshnessOf(new Headers(headers), 5), 5 + laterMs);
console.log(JSON.stringify(GIVEN.map(([headers, laterMs]) => told(headers, laterMs))));
"""


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """What the page says of an answer, some seconds after it came."""
    modules = copied_modules(tmp_path_factory.mktemp("page"))

    def run(later_seconds: int = 0, **headers: str) -> list[str]:
        told = {"Date": NOW, "Sync-As-Of": "2026-11-24T11:59:50Z", "Sync-Next-Expected": "30"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        source = SENTENCES.replace("GIVEN", json.dumps([[told, later_seconds * 1000]]))
        (found,) = run_node(["--input-type=module", "-"], text=source, folder=modules)
        return [str(one) for one in found]

    return run


@needs_node
@pytest.mark.parametrize(
    ("held", "since", "said"),
    [
        ("account=12", "2026-11-24T08:59:00Z", "12 account rows have been held back for 3 hours"),
        ("account=1", "2026-11-24T10:59:00Z", "1 account row has been held back for 1 hour"),
        (
            "account=1, contact=1",
            "2026-11-24T11:58:00Z",
            "1 account and 1 contact rows have been held back for 2 minutes",
        ),
        ("a=1, b=2, c=3", "2026-11-20T11:58:00Z", "1 a, 2 b and 3 c rows have been held back for 4 days"),
        ("account=12", "2026-11-24T11:59:30Z", "12 account rows have been held back for less than a minute"),
    ],
)
def test_held_rows_are_told_with_their_age_in_words(
    sentences: Callable[..., list[str]], held: str, since: str, said: str
) -> None:
    expected = [f"{said}; what you see may be outdated."]
    assert sentences(Sync_Held=held, Sync_Held_Since=since) == expected


@needs_node
def test_a_server_that_is_behind_the_crm_is_told_after_a_few_polls_by_its_own_clock(
    sentences: Callable[..., list[str]],
) -> None:
    assert sentences() == []
    assert sentences(Sync_As_Of="2026-11-24T11:58:00Z") == []
    assert sentences(Sync_As_Of="2026-11-24T11:35:00Z") == ["The server last read the CRM 25 minutes ago."]
    assert sentences(Sync_As_Of="2026-11-24T11:55:00Z", Sync_Next_Expected="300") == []
    assert sentences(1500) == ["The server last read the CRM 25 minutes ago."], "nothing was heard since"
    assert sentences(1500, Sync_Held="account=2", Sync_Held_Since="2026-11-24T11:30:00Z") == [
        "2 account rows have been held back for 55 minutes; what you see may be outdated.",
        "The server last read the CRM 25 minutes ago.",
    ]


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
    made = browser.new_context(viewport={"width": 1200, "height": 820}).new_page()
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made
    made.context.close()
    assert not errors


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    """A server that has just read the CRM."""
    with served(tmp_path, seed=5, accounts=60) as running:
        running.publications.writer.confirm_as_of(datetime.now(UTC))
        yield running


def hold(service: Served, rows: int, *, hours: float = 0, territory: str = "T1") -> None:
    """A publication that changes nothing but how many accounts are held."""
    publications = service.publications
    publications.seq += 1
    since = datetime.now(UTC) - timedelta(hours=hours)
    held = [TerritoryHeld(territory, "account", rows, since)]
    unchanged = change_set(publications.seq, publications.world, publications.world, TERRITORIES)
    publications.writer.apply(replace(unchanged, held=held))


def colour_of(page: Page | Frame, selector: str) -> Any:
    return page.eval_on_selector(selector, "(found) => getComputedStyle(found).color")


def open_device(page: Page, service: Served, where: str = "?territory=T1") -> None:
    page.goto(f"{service.url}/device/{where}#token={bearer(*TERRITORIES)}")


@needs_chromium
def test_held_rows_turn_the_page_amber_and_back_without_a_reload(page: Page, service: Served) -> None:
    open_device(page, service)
    page.wait_for_selector(GREEN, timeout=PATIENCE_MS)
    assert page.inner_text("#state") == "✓ identical to the server"
    assert not page.is_visible("#doubts")
    green = colour_of(page, "#state"), colour_of(page, ".same .tick")
    hold(service, 12, hours=3.1)
    page.wait_for_selector(OUTDATED, timeout=PATIENCE_MS)
    assert page.inner_text("#doubts") == (
        "12 account rows have been held back for 3 hours; what you see may be outdated."
    )
    assert page.inner_text("#state") == "identical · may be outdated"
    assert page.get_attribute("body", "data-identical") == "true"
    assert colour_of(page, "#state") != green[0]
    assert colour_of(page, ".same .tick") != green[1]
    page.reload()
    page.wait_for_selector(OUTDATED, timeout=PATIENCE_MS)
    hold(service, 0)
    page.wait_for_selector(GREEN, timeout=PATIENCE_MS)
    assert (colour_of(page, "#state"), colour_of(page, ".same .tick")) == green
    assert not page.is_visible("#doubts")


@needs_chromium
def test_a_server_that_is_behind_the_crm_turns_the_page_amber(page: Page, tmp_path: Path) -> None:
    with served(tmp_path, seed=5, accounts=60) as service:
        service.publications.writer.confirm_as_of(datetime.now(UTC) - timedelta(minutes=25, seconds=5))
        open_device(page, service)
        page.wait_for_selector(OUTDATED, timeout=PATIENCE_MS)
        assert page.inner_text("#doubts") == "The server last read the CRM 25 minutes ago."
        assert page.inner_text("#state") == "identical · may be outdated"


@needs_chromium
@pytest.mark.parametrize("width", [390, 1200])
def test_the_pair_shows_it_on_the_device_that_it_concerns(page: Page, service: Served, width: int) -> None:
    hold(service, 12, hours=3.1)
    page.set_viewport_size({"width": width, "height": 820})
    open_device(page, service, "pair.html?left=T1&right=T2")
    left, right = (
        found.content_frame() for found in (page.wait_for_selector("#left"), page.wait_for_selector("#right")) if found
    )
    assert left is not None
    assert right is not None
    left.wait_for_selector(OUTDATED, timeout=PATIENCE_MS)
    right.wait_for_selector(GREEN, timeout=PATIENCE_MS)
    assert "12 account rows" in left.inner_text("#doubts")
    assert not right.is_visible("#doubts")
    for frame in (left, right):
        assert frame.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off"
