"""The main path with real processes: after each poll every device holds exactly what a naive model says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.steps import run_random_steps

pytestmark = pytest.mark.e2e

SYNC_SHARE = 0.2


def test_every_device_holds_exactly_its_territories_after_each_poll(
    tmp_path: Path, e2e_seed: int, pytestconfig: pytest.Config
) -> None:
    steps = pytestconfig.getoption("--e2e-steps")
    run_random_steps(tmp_path, e2e_seed, steps=steps, sync_share=SYNC_SHARE)
