"""When a stream run ends for waiting runs, and what it records; with a real (ephemeral) instance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from orchestration import stream as streaming
from orchestration.assets.policy import PUBLICATION_TAG, WRITER_POOL
from orchestration.definitions import defs
from orchestration.due import last_poll
from orchestration.resources.crm import CrmResource
from orchestration.stream import runs_waiting, stream
from tests.pipeline.fake_crm import FakeCrm


class CountedCrm(FakeCrm):
    """The fake CRM with the count of operations that the stream reads."""

    operations_spent = 0


@pytest.fixture
def crm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CountedCrm:
    now = datetime.now(UTC).replace(microsecond=0)
    made = CountedCrm(now)
    made.tables = {
        "Territory": {"T1": {"TerritoryName": "North", "ModifiedDate": now - timedelta(days=9)}},
        "Account": {"A1": {"AccountName": "Clinic", "TerritoryId": "T1", "ModifiedDate": now - timedelta(days=9)}},
    }
    monkeypatch.setattr(CrmResource, "client", made)
    monkeypatch.setenv("DELTA_HOME", str(tmp_path))
    monkeypatch.setenv("SYNC_STREAM_POLL_SECONDS", "0.2")
    return made


def queued(job: str, pools: set[str] | None) -> Any:
    """A queued run as the instance returns it; ``pools`` is None while the queue has not looked at it."""
    concurrency = None if pools is None else SimpleNamespace(all_pools=pools)
    return SimpleNamespace(job_name=job, run_op_concurrency=concurrency)


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("stream").execute_in_process(instance=instance)


def said(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))


def records(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, asset: str) -> list[Any]:
    entries = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    materializations = [entry.get_dagster_event().step_materialization_data.materialization for entry in entries]
    return [one for one in materializations if one.asset_key == dg.AssetKey(asset)]


def test_only_queued_runs_that_need_the_warehouse_are_waiting(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs_waiting(instance) == []
    runs = [queued("realign_territories", {WRITER_POOL}), queued("prune_history", {"other"}), queued("sweep", None)]
    monkeypatch.setattr(instance, "get_runs", lambda _: runs)
    assert runs_waiting(instance) == ["realign_territories", "sweep"]


def test_the_stream_ends_immediately_for_a_waiting_run(
    instance: dg.DagsterInstance, crm: CountedCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "runs_waiting", lambda _: ["realign_territories"])
    result = run(instance)
    assert result.success
    assert "The stream ends: the warehouse is wanted by realign_territories" in said(instance, result)
    assert crm.asked == []


def after_looks(monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """Let a run wait for the warehouse after so many polls of the CRM."""
    answers = iter([*([] for _ in range(looks)), ["sweep"]])
    monkeypatch.setattr(streaming, "runs_waiting", lambda _: next(answers))


def test_the_stream_publishes_and_records_materializations(
    instance: dg.DagsterInstance, crm: CountedCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_looks(monkeypatch, 2)
    result = run(instance)
    assert result.success
    poll = last_poll(instance)
    assert poll is not None
    assert not poll.full_load, "the sync after the load is the newest record"
    deltas = records(instance, result, "territory_deltas")
    assert [one.metadata["rows_inserted"].value for one in deltas] == [1, 0]
    assert instance.get_dynamic_partitions("territory") == ["North T1"]
    published = instance.get_run_by_id(result.run_id)
    assert published is not None
    assert published.tags[PUBLICATION_TAG] == "1"


def test_the_stream_ends_after_its_configured_time(
    instance: dg.DagsterInstance, crm: CountedCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_STREAM_MINUTES", "0.05")
    assert "The stream ends: 0.05 minutes are over" in said(instance, run(instance))


def test_syncs_that_find_nothing_leave_no_records(
    instance: dg.DagsterInstance, crm: CountedCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_looks(monkeypatch, 6)
    # The probe always finds a difference: each poll is a sync.
    monkeypatch.setattr(streaming, "due_by_probe", lambda *_: "always")
    result = run(instance)
    assert len(records(instance, result, "modification_records")) == 2, "the load, and the sync after it"


def test_the_description_of_the_stream_job_names_its_setting() -> None:
    description: Any = stream.description
    assert "SYNC_MODE=stream" in description
