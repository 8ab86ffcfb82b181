"""What a team deploys with is held against the tools that can judge it, and against what the program really has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from delta_service import metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(path for path in (DEPLOY / "systemd").iterdir() if path.suffix in {".service", ".target"})
GO_PACKAGES = Path("/usr/share/gocode")
KUBERNETES_VERSION = "1.31"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd: units are NOT verified")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: alerts are NOT verified")
needs_go = pytest.mark.skipif(
    shutil.which("go") is None or not (GO_PACKAGES / "src/github.com/Masterminds/sprig").exists(),
    reason="no go with sprig: the Helm chart is NOT rendered",
)


def checked(*arguments: str, **environment: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def exposed_names() -> set[str]:
    """Every series that the service's /metrics can show."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (delta_\w+) (\w+)$", metrics.exposition().decode(), re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}
    return names


def expressions() -> Iterator[str]:
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((DEPLOY / "grafana/territory-delta.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@needs_systemd
def test_the_systemd_units_are_right_and_give_away_little(tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for program in ("python", "dagster", "dagster-daemon", "dagster-webserver"):
        (tmp_path / ".venv/bin" / program).symlink_to(sys.executable)
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/territory-delta", str(tmp_path)))
    copies = [str(tmp_path / unit.name) for unit in UNITS]
    assert checked("systemd-analyze", "verify", "--man=no", *copies) == ""
    for copy in copies:
        if copy.endswith(".service"):
            checked("systemd-analyze", "security", "--offline=true", "--threshold=30", copy)


def test_the_units_and_the_image_start_commands_that_exist() -> None:
    for unit in UNITS:
        for command in re.findall(
            r"^ExecStart=/opt/territory-delta/\.venv/bin/(\S+) (.*)$", unit.read_text(), re.MULTILINE
        ):
            assert Path(sys.executable).with_name(command[0]).exists()
            for path in re.findall(r"/opt/territory-delta/(\S+)", command[1]):
                assert (ROOT / path).exists(), path
    for folder in re.findall(r"^COPY ([a-z_]+) \1$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        assert (ROOT / folder).is_dir()


def test_the_dockerfile_is_what_hadolint_calls_good() -> None:
    checked(str(Path(sys.executable).with_name("hadolint")), str(DEPLOY / "Dockerfile"))


@needs_go
@pytest.mark.parametrize("everything", [False, True], ids=["defaults", "everything on"])
def test_the_chart_renders_to_what_kubernetes_accepts(tmp_path: Path, everything: bool) -> None:
    values: dict[str, Any] = {}
    if everything:
        values = {"autoscaling": {"enabled": True}, "ingress": {"enabled": True, "tlsSecretName": "tls"}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    text = checked(
        *("go", "run", "./tests/deploy/helm_template", str(DEPLOY / "helm/territory-delta"), "demo"),
        str(tmp_path / "values.yaml"),
        GO111MODULE="off",
        GOPATH=str(GO_PACKAGES),
        GOCACHE=str(tmp_path / "cache"),
        PWD=str(ROOT),
    )
    documents = {document["kind"]: document for document in yaml.safe_load_all(text)}
    for document in documents.values():
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    expected = {"Deployment", "Service", "PodDisruptionBudget"}
    assert set(documents) == expected | ({"HorizontalPodAutoscaler", "Ingress"} if everything else set())
    labels = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert documents["Service"]["spec"]["selector"].items() <= labels.items()
    # A pod has more time to end than it is asked to go on, and than long bodies are given.
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    (_, drain_seconds) = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] >= int(drain_seconds) + 15


@needs_promtool
def test_the_alerts_are_right() -> None:
    checked("promtool", "check", "rules", str(DEPLOY / "prometheus/alerts.yaml"))


def test_alerts_and_dashboard_ask_for_series_that_the_service_has() -> None:
    exposed = exposed_names()
    asked = {name for expression in expressions() for name in re.findall(r"\bdelta_[a-z_]+", expression)}
    assert len(asked) > 5
    assert asked <= exposed
