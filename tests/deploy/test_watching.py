"""Alerts and dashboard use metrics that a running service has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, WORLDS, publish, token
from tests.delta_service.model import IDENTITY
from tests.delta_service.processes import serving
from tests.deploy.compose import ROOT

NORTH = "/v1/territories/T-NORTH/delta"
OF_PROMETHEUS = {"le", "job", "instance", "tenant"}
"""Labels of histogram buckets, and those that scraping adds."""


def expressions() -> Iterator[str]:
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((ROOT / "deploy/grafana/territory-delta.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def asked_labels(expression: str) -> set[str]:
    grouped = re.findall(r"\w+", " ".join(re.findall(r"\bby \(([\w, ]+)\)", expression)))
    return {*grouped, *re.findall(r"[{,](\w+)=", expression)} - OF_PROMETHEUS


@pytest.mark.processes
@pytest.mark.parametrize("workers", ["1", "2"])
def test_alerts_and_dashboard_use_series_that_a_running_service_has(workers: str, tmp_path: Path) -> None:
    with DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        writer.set_territories(NAMES)
        publish(writer, WORLDS[:3])
    with serving(tmp_path, "--workers", workers) as client:
        bearer = {"Authorization": f"Bearer {token(['T-NORTH'])}"}
        # One worker's requests are enough for the series to exist.
        assert client.get(NORTH, headers=bearer).status_code == 200
        assert client.get(NORTH).status_code == 401
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    shown = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    asked = [(name, text) for text in expressions() for name in re.findall(r"\bdelta_[a-z_]+", text)]
    assert len({name for name, _ in asked}) > 5
    for name, expression in asked:
        assert name in shown, expression
        assert asked_labels(expression) <= shown[name], expression


def test_alerts_name_problem_codes_that_exist() -> None:
    code = (ROOT / "delta_service/problems.py").read_text()
    named = {
        one for text in expressions() for group in re.findall(r'code=~"([^"]+)"', text) for one in group.split("|")
    }
    assert len(named) > 3
    for one in named:
        assert f'"{one}"' in code
