"""Deployment files are checked with the tools that read them, and against the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from delta_service.server import STOP_SECONDS
from tests.deploy.compose import ROOT, SERVICES, TENANTS

DEPLOY = ROOT / "deploy"
UNITS = sorted(path for path in (DEPLOY / "systemd").iterdir() if path.suffix in {".service", ".target"})
GO_PACKAGES = Path("/usr/share/gocode")
KUBERNETES_VERSION = "1.31"
CODE_UNIT = DEPLOY / "systemd/territory-delta-code.service"
VALUES = yaml.safe_load((DEPLOY / "helm/dagster-values.yaml").read_text())
USER_DEPLOYMENTS = VALUES["dagster-user-deployments"]["deployments"]

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


@pytest.mark.processes
@needs_systemd
def test_the_systemd_units_are_valid_and_have_few_privileges(tmp_path: Path) -> None:
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


@pytest.mark.processes
def test_hadolint_has_no_complaint_about_the_dockerfile() -> None:
    checked(str(Path(sys.executable).with_name("hadolint")), str(DEPLOY / "Dockerfile"))


@pytest.fixture(scope="module")
def helm_template(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that renders a chart with a file of values."""
    folder = tmp_path_factory.mktemp("go")
    program = str(folder / "helm_template")
    places = {"GO111MODULE": "off", "GOPATH": str(GO_PACKAGES), "GOCACHE": str(folder / "cache"), "PWD": str(ROOT)}
    checked("go", "build", "-o", program, "./tests/deploy/helm_template", **places)
    return program


@pytest.mark.processes
@needs_go
@pytest.mark.parametrize("everything", [False, True], ids=["defaults", "everything on"])
def test_the_rendered_chart_is_valid_for_kubernetes(helm_template: str, tmp_path: Path, everything: bool) -> None:
    values: dict[str, Any] = {}
    if everything:
        values = {"autoscaling": {"enabled": True}, "ingress": {"enabled": True, "tlsSecretName": "tls"}}
        values["serviceMonitor"] = {"enabled": True}
        values["worker"] = {"tenant": "acme", "storage": {"className": "fast"}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    text = checked(helm_template, str(DEPLOY / "helm/territory-delta"), "demo", str(tmp_path / "values.yaml"))
    documents = {document["kind"]: document for document in yaml.safe_load_all(text)}
    if monitor := documents.pop("ServiceMonitor", None):
        # Not a kind of Kubernetes itself.
        labels = {one["targetLabel"]: one["replacement"] for one in monitor["spec"]["endpoints"][0]["relabelings"]}
        assert labels == {"job": "territory-delta", "tenant": "acme"}
    for document in documents.values():
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    expected = {"Deployment", "Service", "PodDisruptionBudget"}
    assert set(documents) == expected | ({"HorizontalPodAutoscaler", "Ingress", "StatefulSet"} if everything else set())
    labels = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert documents["Service"]["spec"]["selector"].items() <= labels.items()
    # A pod has more time to stop than it drains and than large answers are given.
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    (_, drain_seconds) = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] - int(drain_seconds) > STOP_SECONDS
    if everything:
        expect_a_worker(documents["StatefulSet"], documents["Service"])


def expect_a_worker(stateful_set: dict[str, Any], service: dict[str, Any]) -> None:
    """One that runs the tenant's jobs, owns the warehouse, and cannot be reached by devices."""
    assert stateful_set["spec"]["replicas"] == 1
    pod = stateful_set["spec"]["template"]
    assert not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    assert tuple(container["args"]) == tuple(SERVICES["acme-worker"]["command"])
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["TENANT"] == "acme"
    secrets = [source["secretRef"]["name"] for source in container["envFrom"]]
    (deployment,) = (one for one in USER_DEPLOYMENTS if one["name"] == "acme")
    assert secrets == [secret["name"] for secret in deployment["envSecrets"]] == ["acme-pipeline", "dagster-broker"]
    (claim,) = stateful_set["spec"]["volumeClaimTemplates"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    image = (DEPLOY / "Dockerfile").read_text()
    home, dagster_home = re.findall(r"\b(?:DELTA|DAGSTER)_HOME=(\S+)", image)
    assert mounts[home] == claim["metadata"]["name"]
    assert f"{dagster_home}/dagster.yaml" in mounts
    (grace_seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", CODE_UNIT.read_text(), re.MULTILINE)
    assert pod["spec"]["terminationGracePeriodSeconds"] == int(grace_seconds)


def test_values_of_dagsters_chart_match_the_instance_file() -> None:
    """The chart's own schema is not in this repository; README.md says how the values were checked against it."""
    instance = yaml.safe_load((ROOT / "orchestration/dagster_home/dagster-celery.yaml").read_text())
    daemon, launcher = VALUES["dagsterDaemon"], VALUES["runLauncher"]
    assert launcher["config"]["customRunLauncher"] == instance["run_launcher"]
    for part, settings in VALUES["additionalInstanceConfig"].items():
        assert settings == instance[part]
    for part in ("sensor", "schedule"):
        assert VALUES["retention"][part]["purgeAfterDays"] == instance["retention"][part]["purge_after_days"]
    monitoring = {camel_case(name): value for name, value in instance["run_monitoring"].items()}
    assert daemon["runMonitoring"].items() <= monitoring.items()
    assert daemon["runCoordinator"]["config"]["customRunCoordinator"] == instance["run_coordinator"]
    assert VALUES["telemetry"] == instance["telemetry"]


def test_values_of_dagsters_chart_have_a_code_server_for_each_tenant() -> None:
    for deployment in USER_DEPLOYMENTS:
        name = deployment["name"]
        assert deployment["env"] == [{"name": "TENANT", "value": name}]
        # Valid as a name in Kubernetes and as a tenant.
        assert re.fullmatch("[a-z][a-z0-9]*", name)
        command = SERVICES[f"{name}-code"]["command"]
        assert command[command.index("--module-name") :] == deployment["codeServerArgs"]
        assert str(deployment["port"]) in command
    assert {one["name"] for one in USER_DEPLOYMENTS} == set(TENANTS)
    chart = yaml.safe_load((DEPLOY / "helm/territory-delta/values.yaml").read_text())
    images = [VALUES[part]["image"] for part in ("dagsterWebserver", "dagsterDaemon")]
    assert {yaml.safe_dump(image) for image in [*images, *(one["image"] for one in USER_DEPLOYMENTS)]} == {
        yaml.safe_dump(chart["image"])
    }
    assert VALUES["global"]["postgresqlSecretName"] == chart["worker"]["postgresqlSecretName"]
    assert VALUES["dagsterDaemon"]["envSecrets"] == [{"name": chart["worker"]["brokerSecretName"]}]
    assert f"DAGSTER_HOME={VALUES['global']['dagsterHome']}\n" in (DEPLOY / "Dockerfile").read_text()


def camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


@pytest.mark.processes
@needs_promtool
def test_the_alerts_are_valid_and_distinguish_tenants(tmp_path: Path) -> None:
    alerts = DEPLOY / "prometheus/alerts.yaml"
    checked("promtool", "check", "rules", str(alerts))
    cases = yaml.safe_load((ROOT / "tests/deploy/alert_cases.yaml").read_text())
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases | {"rule_files": [str(alerts)]}))
    checked("promtool", "test", "rules", str(tmp_path / "cases.yaml"))
