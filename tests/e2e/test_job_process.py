"""Jobs that tests fork from a resident process are as real as those that a user starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.steps import check_recompute
from tests.e2e.system import running_system
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e


def test_a_killed_job_ends_by_the_signal_and_the_next_one_can_open_the_warehouse(tmp_path: Path) -> None:
    with running_system(tmp_path) as system:
        system.start_crm(accounts=30, territories=2, seed=1)
        process = system.start_job("full_load")
        assert process.pid != os.getpid()
        wait_until((tmp_path / "warehouse.duckdb").exists, 60, "the job writes the warehouse")
        process.kill()
        assert process.poll() == -signal.SIGKILL
        assert not Path(f"/proc/{process.pid}").exists()
        system.run_job("full_load")
        check_recompute(tmp_path)


def test_a_job_gets_only_its_own_environment_and_its_failure_is_told(tmp_path: Path) -> None:
    with running_system(tmp_path, DELTA_GUARD_MAX_SHARE="nonsense") as system:
        printed = system.run_job("sync", expect_success=False)
        assert "DELTA_GUARD_MAX_SHARE" in printed
    assert "DELTA_GUARD_MAX_SHARE" not in os.environ
