"""What Dagster loads: names that operators use must not change unseen."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import yaml

from orchestration.assets.policy import FRESH
from orchestration.definitions import defs
from orchestration.due import LastPoll, due_without_asking
from orchestration.settings import PipelineSettings
from tests.e2e.system import PROJECT

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_definitions_load_and_resolve() -> None:
    dg.Definitions.validate_loadable(defs)


def test_assets_jobs_and_sensors_are_these() -> None:
    graph = defs.resolve_asset_graph()
    shape = {
        key.to_user_string(): (
            graph.get(key).group_name,
            sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            sorted(graph.get(key).pools or ()),
        )
        for key in sorted(graph.materializable_asset_keys)
    }
    snapshots = ["account", "activity", "contact", "opportunity", "order", "territory", "user"]
    child = ["account", "modification_records"]
    pool = ["warehouse_writer"]
    assert shape == {
        "modification_records": ("ingest", [], pool),
        "territory": ("snapshots", ["modification_records"], pool),
        "user": ("snapshots", ["modification_records"], pool),
        "account": ("snapshots", ["modification_records"], pool),
        "contact": ("snapshots", child, pool),
        "opportunity": ("snapshots", child, pool),
        "activity": ("snapshots", child, pool),
        "order": ("snapshots", child, pool),
        "row_versions": ("deltas", snapshots, pool),
        "visibility": ("deltas", snapshots, pool),
        "territory_deltas": ("deltas", ["row_versions", "visibility"], pool),
        "delta_store": ("deltas", ["territory_deltas"], pool),
        "territory_rebuild": ("reconciliation", ["delta_store"], pool),
    }
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} - {"__ASSET_JOB"} == {
        "sync", "full_load", "sweep", "census", "verify", "release_held_publication", "rebuild_delta_store", "compact",
        "reject_held_publication", "preflight", "dry_run_alignment", "realign_territories",
        "prune_history", "stamp_territories", "stream", "backup", "replay_window", "rebuild_territory_tables",
    }  # fmt: skip
    assert {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs} == {
        "crm_changes": "RUNNING",
        "alert_failed_runs": "STOPPED",
        "alert_held_publications": "STOPPED",
    }


def test_every_asset_tells_its_purpose_owner_and_kinds() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        assert node.owners == ["team:crm-data"], key
        assert node.kinds, key


def test_the_instance_settings_limit_the_writer_pool_to_one_run() -> None:
    settings = yaml.safe_load((PROJECT / "orchestration/dagster_home/dagster.yaml").read_text())
    assert settings["concurrency"]["pools"] == {"granularity": "run", "default_limit": 1}
    assert settings["telemetry"] == {"enabled": False}


def test_what_devices_get_is_stale_after_missed_heartbeats_and_not_before() -> None:
    """A quiet CRM makes nothing stale: each heartbeat's sync materializes all that has a policy."""
    graph = defs.resolve_asset_graph()
    policies = {key: graph.get(key).freshness_policy for key in graph.materializable_asset_keys}
    watched = {key: policy for key, policy in policies.items() if policy is not None}
    assert set(watched) == FRESH
    assert set(watched) <= defs.resolve_job_def("sync").asset_layer.executable_asset_keys
    heartbeat = timedelta(seconds=PipelineSettings(Path("unused")).heartbeat_seconds)
    assert due_without_asking(LastPoll(NOW, NOW, NOW, 0, full_load=False), NOW + heartbeat, PipelineSettings(Path()))
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=1), warn_window=timedelta(minutes=15))
    assert all(one == policy for one in watched.values())
    assert timedelta(minutes=15) >= 2 * heartbeat


def test_the_daemon_evaluates_freshness_and_forgets_ticks_as_shipped() -> None:
    settings = yaml.safe_load((PROJECT / "orchestration/dagster_home/dagster.yaml").read_text())
    assert settings["freshness"] == {"enabled": True}
    for kind in ("sensor", "schedule"):
        assert set(settings["retention"][kind]["purge_after_days"]) == {"skipped", "started", "failure", "success"}


def test_the_pipeline_knows_nothing_of_the_simulator() -> None:
    for room in ("orchestration", "delta_service"):
        for path in (PROJECT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "crm_simulator" not in text, path
            assert room == "orchestration" or "from orchestration" not in text, path
    for path in (PROJECT / "crm_simulator").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "from orchestration" not in text, path
        assert "from delta_service" not in text, path


def test_the_readme_names_every_variable_that_the_code_reads() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    named = {
        variable
        for room in ("orchestration", "delta_service")
        for path in Path(PROJECT / room).rglob("*.py")
        for variable in re.findall(r"\b(?:CRMOD|DELTA|SYNC|WAREHOUSE)_[A-Z_]+\b", path.read_text(encoding="utf-8"))
    }
    assert named
    assert not {word for word in named if word not in readme and f"{word}_" not in readme}


def test_loading_the_definitions_warns_of_nothing() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import orchestration.definitions"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Warning" not in loaded.stderr
