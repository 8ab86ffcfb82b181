"""One running system for all tests of the Dagster UI, which run in the order of the file."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.ui.desk import Desk, running_desk
from tests.ui.pages import PATIENCE_MS, DagsterPages

CHROMIUM = shutil.which("chromium")
ABSENT = "chromium is not installed: the Dagster UI is NOT tested"
if CHROMIUM is None:
    warnings.warn(ABSENT, stacklevel=1)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running_desk(tmp_path_factory.mktemp("desk")) as made:
        yield made


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip(ABSENT)
    with sync_playwright() as playwright:
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
        )
        made = browser.new_context(viewport={"width": 1200, "height": 760}).new_page()
        made.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        made.on("pageerror", lambda error: errors.append(str(error)))
        yield made
        browser.close()
        assert not errors


@pytest.fixture(scope="module")
def ui(page: Page, desk: Desk) -> DagsterPages:
    return DagsterPages(page, desk)


@pytest.fixture(autouse=True)
def picture_of_a_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed and "ui" in request.fixturenames:
        request.getfixturevalue("ui").picture(f"failed-{request.node.name}")
