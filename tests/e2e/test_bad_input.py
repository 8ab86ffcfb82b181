"""Bad input, each with a clear error, nothing lost, nothing leaked."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest

from tests.e2e.device import Device
from tests.e2e.oracle import Oracle
from tests.e2e.steps import sync
from tests.e2e.system import AUDIENCE, PROJECT, SECRET, System
from tests.ports import free_port

pytestmark = pytest.mark.e2e


def refused_sign_ins(system: System) -> int:
    return int(system.http.get(f"http://127.0.0.1:{system.crm_port}/control/summary").json()["refused_sign_ins"])


def test_a_wrong_password_is_tried_once_with_a_clear_message_and_never_shown(system: System) -> None:
    before = refused_sign_ins(system)
    system.environment["CRMOD_PASSWORD"] = "not-the-password"
    try:
        printed = system.run_job("sync", expect_success=False)
    finally:
        system.environment["CRMOD_PASSWORD"] = "simulator-only"
    assert "CRMOD_PASSWORD" in printed
    assert "not-the-password" not in printed
    assert refused_sign_ins(system) - before == 1


def test_an_unreachable_pod_is_a_clear_error(system: System) -> None:
    right = system.environment["CRMOD_URL"]
    system.environment["CRMOD_URL"] = f"http://127.0.0.1:{free_port()}/Services/Integration"
    try:
        printed = system.run_job("sync", expect_success=False)
    finally:
        system.environment["CRMOD_URL"] = right
    assert "CRMOD_URL" in printed or "cannot be reached" in printed or "unreachable" in printed


@pytest.mark.parametrize("kind", ["truncated", "html", "empty"])
def test_a_broken_answer_loses_nothing(system: System, kind: str) -> None:
    account = Oracle(system).ids("account")[0]
    system.control("update", object="Account", id=account, fields={"Status": f"after {kind}"})
    system.control("faults", operation="AccountQueryPage", kind=kind, times=2)
    published = sync(system)
    territory = next(r["TerritoryId"] for r in system.records("Account") if r["TerritoryId"])
    device = Device(kind, system.service, f"/v1/territories/{territory}/delta", system.token(territory))
    system.wait_served()
    device.poll(system.http, limit=100)
    device.expect(published.view({territory}))


def test_a_broken_catalog_names_the_line(system: System, tmp_path: Path) -> None:
    text = (PROJECT / "orchestration/objects.yaml").read_text()
    broken = tmp_path / "objects.yaml"
    broken.write_text(text.replace("through: account", "through: acount", 1))
    system.environment["OBJECT_CATALOG"] = str(broken)
    try:
        printed = system.run_job("sync", expect_success=False)
    finally:
        del system.environment["OBJECT_CATALOG"]
    line = broken.read_text().split("acount")[0].count("\n") + 1
    assert f"objects.yaml:{line}: " in printed
    assert "unknown object acount" in printed


def test_a_field_that_the_wsdl_lacks_is_refused_by_name(system: System, tmp_path: Path) -> None:
    text = (PROJECT / "orchestration/objects.yaml").read_text()
    broken = tmp_path / "objects.yaml"
    broken.write_text(text.replace("AccountName: string", "AccountNaem: string", 1))
    system.environment["OBJECT_CATALOG"] = str(broken)
    try:
        printed = system.run_job("sync", expect_success=False)
    finally:
        del system.environment["OBJECT_CATALOG"]
    assert "AccountNaem" in printed


def get(system: System, path: str, token: str | None) -> tuple[int, str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = system.http.get(system.service + path, headers=headers)
    code = answer.json().get("code", "") if answer.headers["content-type"].startswith("application/problem") else ""
    return answer.status_code, code, answer.text


def test_cursors_of_nonsense_are_refused(system: System) -> None:
    token = system.token("x")
    for since in ("nonsense", "v1.aaaa.bbbb", "%00", "-1", "9" * 40):
        status, code, _ = get(system, f"/v1/delta?since={since}", token)
        assert (status, code) == (400, "cursor-malformed"), since


def test_tokens_that_are_not_good_open_nothing(system: System) -> None:
    territories = [r["Id"] for r in system.records("Territory")]
    mine, other = territories[0], territories[1]
    now = int(time.time())
    good = {"aud": AUDIENCE, "exp": now + 600, "nbf": now - 5, "territories": [mine]}
    refused = [
        None,
        "garbage",
        system.token(mine, exp=now - 3600),
        system.token(mine, nbf=now + 3600),
        system.token(mine, aud="somebody-else"),
        jwt.encode(good, None, algorithm="none"),  # type: ignore[arg-type]
        jwt.encode(good, SECRET, algorithm="HS512"),
        jwt.encode(good, SECRET + "x", algorithm="HS256"),
    ]
    for token in refused:
        status, _, text = get(system, f"/v1/territories/{mine}/delta", token)
        assert status == 401
        assert mine not in text
    token = system.token(mine)
    assert get(system, f"/v1/territories/{mine}/delta", token)[0] == 200
    denied = get(system, f"/v1/territories/{other}/delta", token)
    nowhere = get(system, "/v1/territories/NO-SUCH/delta", token)
    assert denied[:2] == nowhere[:2] == (403, "scope-denied")
