"""Dagster's pages as an operator uses them: found by the text of buttons and tabs, not by CSS classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Locator, Page, expect

from tests.e2e.system import PROJECT
from tests.ui.desk import LOCATION, Desk

PATIENCE_MS = 45_000
ARTIFACTS = PROJECT / "test-artifacts" / "ui"


class DagsterPages:
    """Each method opens a page, or does there what its name says, and waits until the page shows it."""

    def __init__(self, page: Page, desk: Desk) -> None:
        self.page = page
        self.desk = desk

    def graph(self) -> None:
        self._open("/asset-groups")
        expect(self.page.get_by_text("reconciliation").first).to_be_visible(timeout=PATIENCE_MS)

    def asset(self, name: str, tab: str = "overview") -> None:
        self._open(f"/assets/{name}?view={tab}")
        expect(self.page.get_by_role("tab", name=tab.capitalize())).to_be_visible(timeout=PATIENCE_MS)

    def run(self, run_id: str) -> None:
        self._open(f"/runs/{run_id}")

    def runs(self) -> None:
        self._open("/runs")

    def sensor(self, name: str) -> None:
        self._open(f"/locations/{LOCATION}/sensors/{name}")

    def launch(self, job: str, picture: str, **config: Any) -> None:
        """From the job's Launchpad: replace the run config, and press the button once Dagster accepts it."""
        self._open(f"/locations/{LOCATION}/jobs/{job}/playground")
        editor = self.page.locator(".CodeMirror").first
        expect(editor).to_be_visible(timeout=PATIENCE_MS)
        button = self.page.get_by_role("button", name="Launch Run")
        expect(button).to_be_visible(timeout=PATIENCE_MS)
        if config:
            editor.click()
            self.page.keyboard.press("Control+A")
            # A typist would get the editor's own indentation on top.
            self.page.keyboard.insert_text(yaml.safe_dump(config, sort_keys=False))
        expect(self.page.get_by_text("No errors")).to_be_visible(timeout=PATIENCE_MS)
        expect(button).to_be_enabled(timeout=PATIENCE_MS)
        self.picture(picture)
        button.click()
        self.page.wait_for_url("**/runs/*", timeout=PATIENCE_MS)

    def pick_partitions(self, asset: str, names: list[str], picture: str) -> None:
        """From the asset's page: pick territories in the dialog and launch the backfill."""
        self.asset(asset, "partitions")
        self.page.get_by_role("button", name="Materialize").first.click()
        dialog = self.page.get_by_role("dialog").last
        dialog.get_by_text("Select a partition or create one").click()
        for name in names:
            self.page.get_by_placeholder("Filter partitions").fill(name)
            self.page.get_by_role("menuitem").filter(has_text=name).first.click()
        self.page.keyboard.press("Escape")
        self.picture(picture)
        dialog.get_by_role("button", name="Launch").click()

    def open_report(self) -> None:
        """On a run's page: open the report of its operation, which the UI shows only after a click."""
        self.page.get_by_text("[Show Markdown]").last.click()
        expect(self.page.get_by_role("dialog").last).to_be_visible(timeout=PATIENCE_MS)

    def filter_events(self, text: str) -> None:
        """On a run's page."""
        self.page.get_by_placeholder("Filter…").fill(text)

    def see(self, text: str) -> Locator:
        """Wait until the text is on the page."""
        found = self.page.get_by_text(text).first
        expect(found).to_be_visible(timeout=PATIENCE_MS)
        return found

    def picture(self, name: str) -> Path:
        """Save a screenshot of the page, which is also the guide's picture of that name."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        return path

    def _open(self, path: str) -> None:
        self.page.goto(self.desk.ui + path)
