from __future__ import annotations

import asyncio

import httpx
import pytest

from crm_simulator.app import ServerOptions, build_app
from crm_simulator.crm import DEFAULT_TRACKED
from tests.simulator.conftest import ENDPOINT, TOKEN, Answer, Simulator, make_simulator, query_body

LOGIN = {"UserName": "DEMO/INTEGRATION", "Password": "simulator-only"}


def test_requests_beyond_the_allotment_are_refused_until_the_next_day(simulator: Simulator) -> None:
    simulator.control("limits", operations=3)
    for _ in range(3):
        assert len(simulator.query("Account").rows) == 10
    answer = simulator.query("Account")
    assert answer.root.findtext(".//ErrorCode") == "SBL-SBL-70172"
    assert "Operations Allotment of 3" in answer.fault
    simulator.control("clock", advance_seconds=22 * 3600)
    assert "SBL-SBL-70172" in simulator.query("Contact").fault
    simulator.control("clock", advance_seconds=2 * 3600)
    assert len(simulator.query("Contact").rows) == 10


def test_a_child_list_costs_one_operation_per_parent_row(simulator: Simulator) -> None:
    fields = "<Id/><ListOfAccount><Account><AccountId/></Account></ListOfAccount>"
    simulator.query("Contact", fields, pagesize=20)
    assert simulator.control("limits")["operations_used"] == 21


def test_more_concurrent_requests_than_allotted_are_refused() -> None:
    simulator = make_simulator()
    simulator.control("limits", concurrent_requests=2)
    app = build_app(simulator.crm, ServerOptions(min_interval_ms=0, latency_ms=200))
    envelope = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>'
        + TOKEN.format(password="simulator-only")
        + f"</s:Header><s:Body>{query_body('Account')}</s:Body></s:Envelope>"
    )

    async def together() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://crm") as client:
            return await asyncio.gather(*(client.post(ENDPOINT, content=envelope) for _ in range(3)))

    texts = [response.text for response in asyncio.run(together())]
    assert any("Concurrent Request Allotment of 2" in text for text in texts)
    assert simulator.crm.meter.requests_under_way == 0


def test_the_allotments_can_be_queried(simulator: Simulator) -> None:
    simulator.control("limits", operations=100)
    simulator.query("Account")
    rows = simulator.query("ServiceAllotment", "<Name/><Value/><CurrentUsage/><RemainingUsage/>").rows
    by_name = {row["Name"]: row for row in rows}
    operations = by_name["Web Services Operations Allotment"]
    assert (operations["Value"], operations["CurrentUsage"], operations["RemainingUsage"]) == ("100", "1", "99")
    assert "Value" not in by_name["Web Services Concurrent Request Allotment"]


def test_limits_apply_until_they_are_removed(simulator: Simulator) -> None:
    assert simulator.control("limits", operations=0)["operations"] == 0
    assert simulator.control("limits", idle_seconds=60)["operations"] == 0
    assert simulator.control("limits", operations=None)["operations"] is None
    simulator.control("limits", 400, idle_seconds=0)


def test_a_login_session_ends_after_the_idle_limit(simulator: Simulator) -> None:
    simulator.control("limits", idle_seconds=30)
    simulator.http.get(ENDPOINT, params={"command": "login"}, headers=LOGIN)
    simulator.control("clock", advance_seconds=31)
    assert "Session is not available" in Answer(simulator.send(query_body("Account"), header="")).fault


def test_all_sessions_can_be_ended(simulator: Simulator) -> None:
    simulator.http.get(ENDPOINT, params={"command": "login"}, headers=LOGIN)
    assert simulator.http.delete("/control/sessions").json() == {"ended": 1}
    assert "SBL-ODU-01006" in Answer(simulator.send(query_body("Account"), header="")).fault


def test_a_request_that_is_too_large_is_refused(simulator: Simulator) -> None:
    simulator.control("limits", request_kilobytes=1)
    assert "SBL-ODU-01008" in simulator.query("Account", spec=f"[AccountName] = '{'x' * 1100}'").fault


@pytest.mark.parametrize("path", [ENDPOINT, "/Services/cte/EnableModificationTrackingService"])
def test_the_administrative_service_lists_tracked_objects(path: str) -> None:
    simulator = make_simulator(DEFAULT_TRACKED | {"Order"})
    namespace = "urn:crmondemand/ws/odesabs/enablemodificationtracking/"
    body = f'<EnableModificationTrackingReadAll_Input xmlns="{namespace}"/>'
    envelope = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>{}</s:Header>'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    )
    answer = Answer(simulator.http.post(path, content=envelope.format(TOKEN.format(password="simulator-only"))))
    enabled = {row["Object"]: row["Enabled"] for row in answer.rows}
    assert (enabled["Account"], enabled["Order"], enabled["Territory"]) == ("true", "true", "false")
    simulator.http.get(ENDPOINT, params={"command": "login"}, headers=LOGIN)
    assert "Missing wsse:Security" in Answer(simulator.http.post(path, content=envelope.format(""))).fault


def test_the_older_services_use_the_time_zone_of_the_user(simulator: Simulator) -> None:
    simulator.control("clock", user_zone_minutes=-150)
    account = simulator.records("Account")[0]["Id"]
    simulator.control("delete", object="Account", id=account)
    now = Answer(simulator.send('<TimeWS_GetServerTime_Input xmlns="urn:crmondemand/ws/time/"/>')).root
    assert now.findtext(".//{*}CurrentServerTime") == "05/28/2026 17:56:40"
    assert (now.findtext(".//{*}TimeZone") or "").startswith("(GMT-02:30)")

    def deleted(since: str) -> list[str | None]:
        row = f"<DeletedItem><DeletedDate>&gt; '{since}'</DeletedDate></DeletedItem>"
        listed = f"<ListOfDeletedItem>{row}</ListOfDeletedItem>"
        request = f"<DeletedItemWS_DeletedItemQueryPage_Input>{listed}</DeletedItemWS_DeletedItemQueryPage_Input>"
        return [cell.text for cell in Answer(simulator.send(request)).root.iter("{*}DeletedDate")]

    assert deleted("05/28/2026 17:56:39") == ["05/28/2026 17:56:40"]
    assert deleted("05/28/2026 17:56:40") == []
