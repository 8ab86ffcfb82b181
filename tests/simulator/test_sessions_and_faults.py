from __future__ import annotations

import time

import pytest

from tests.simulator.conftest import ENDPOINT, TOKEN, Answer, Simulator, make_simulator, query_body

LOGIN = {"UserName": "DEMO/INTEGRATION", "Password": "simulator-only"}


@pytest.fixture
def slow() -> Simulator:
    """A CRM that requires a minute between two requests of a session."""
    return make_simulator(min_interval_ms=60_000)


def test_a_wrong_password_fails_authentication(simulator: Simulator) -> None:
    answer = Answer(simulator.send(query_body("Account"), header=TOKEN.format(password="guess")))
    assert "wsse:FailedAuthentication" in answer.fault
    assert "JSESSIONID" not in answer.response.cookies


def test_a_request_without_a_token_is_refused(simulator: Simulator) -> None:
    assert "Missing wsse:Security" in Answer(simulator.send(query_body("Account"), header="")).fault


def test_faults_can_come_with_status_200() -> None:
    simulator = make_simulator(fault_status=200)
    answer = simulator.query("Account", pagesize=1000)
    assert answer.response.status_code == 200
    assert "SBL-EAI-04447" in answer.fault


def test_every_answer_sets_a_session_cookie_that_does_not_authenticate(simulator: Simulator) -> None:
    assert simulator.query("Account").response.cookies["JSESSIONID"]
    assert "SBL-ODU-01006" in Answer(simulator.send(query_body("Account"), header="")).fault


def test_a_stateful_session_authenticates_by_its_cookie(simulator: Simulator) -> None:
    keep = (
        TOKEN.format(password="simulator-only") + '<SessionKeepAlive xmlns="urn:crmondemand/ws">true</SessionKeepAlive>'
    )
    simulator.send(query_body("Account"), header=keep)
    assert len(Answer(simulator.send(query_body("Account"), header="")).rows) == 10


def test_a_login_session_works_until_logoff(simulator: Simulator) -> None:
    simulator.http.get(ENDPOINT, params={"command": "login"}, headers=LOGIN)
    assert len(Answer(simulator.send(query_body("Account"), header="")).rows) == 10
    assert simulator.http.get(ENDPOINT, params={"command": "logoff"}).status_code == 200
    assert "Session is not available" in Answer(simulator.send(query_body("Account"), header="")).fault


def test_a_login_session_ends_after_ten_idle_minutes(simulator: Simulator) -> None:
    simulator.http.get(ENDPOINT, params={"command": "login"}, headers=LOGIN)
    simulator.control("clock", advance_seconds=590)
    assert len(Answer(simulator.send(query_body("Account"), header="")).rows) == 10
    simulator.control("clock", advance_seconds=610)
    assert "SBL-ODU-01006" in Answer(simulator.send(query_body("Account"), header="")).fault


def test_a_failed_login_is_a_page_without_a_cookie(simulator: Simulator) -> None:
    response = simulator.http.get(ENDPOINT, params={"command": "login"}, headers=LOGIN | {"Password": "guess"})
    assert response.status_code == 200
    assert "JSESSIONID" not in response.cookies
    assert "SBL-ODU-01006" in response.text


def test_an_encoded_login_is_decoded(simulator: Simulator) -> None:
    headers = {"UserName": "DEMO%2FINTEGRATION", "Password": "simulator-only"}
    response = simulator.http.get(ENDPOINT, params={"command": "login", "isEncoded": "Y"}, headers=headers)
    assert response.cookies["JSESSIONID"]


def test_an_eleventh_login_session_is_refused(simulator: Simulator) -> None:
    answers = [simulator.http.get(ENDPOINT, params={"command": "login"}, headers=LOGIN) for _ in range(11)]
    assert ["JSESSIONID" in answer.cookies for answer in answers] == [True] * 10 + [False]


def test_requests_too_soon_after_each_other_are_told_how_long_to_wait(slow: Simulator) -> None:
    slow.query("Account")
    answer = slow.query("Account")
    assert "SBL-ODU-01005" in answer.fault
    assert 55_000 < int(answer.root.findtext(".//{*}RequestWait") or 0) <= 60_000
    assert answer.root.findtext(".//ErrorCode") == "SBL-ODU-01005"


def test_requests_without_a_cookie_share_ten_sessions(slow: Simulator) -> None:
    statuses = []
    for _ in range(11):
        slow.http.cookies.clear()
        statuses.append(slow.query("Account").response.status_code)
    assert statuses == [200] * 10 + [500]


def test_a_rejected_request_costs_no_operation(slow: Simulator) -> None:
    slow.query("Account")
    slow.query("Account")
    assert slow.operations_spent() == 1


def test_scripted_faults_have_the_form_of_their_code(simulator: Simulator) -> None:
    for code, inside in (
        ("SBL-ODU-01006", "ErrorCode"),
        ("SBL-SBL-70172", "ErrorCode"),
        ("SBL-DBC-00112", "{http://www.siebel.com/ws/fault}errorcode"),
    ):
        simulator.control("faults", kind="code", code=code, operation="AccountQueryPage")
        answer = simulator.query("Account")
        assert code in (answer.root.findtext(f".//{inside}") or "")
    assert len(simulator.query("Account").rows) == 10


def test_a_scripted_fault_occurs_as_often_as_ordered_for_its_operation(simulator: Simulator) -> None:
    simulator.control("faults", kind="empty", operation="ContactQueryPage", times=2)
    assert len(simulator.query("Account").rows) == 10
    for _ in range(2):
        assert simulator.send(query_body("Contact")).content == b""
    assert len(simulator.query("Contact").rows) == 10


def test_answers_can_be_truncated_or_replaced_and_faults_cancelled(simulator: Simulator) -> None:
    simulator.control("faults", kind="truncated")
    assert not simulator.send(query_body("Account")).text.endswith("</SOAP-ENV:Envelope>")
    simulator.control("faults", kind="html", status=503)
    page = simulator.send(query_body("Account"))
    assert (page.status_code, page.text[:15]) == (503, "<!DOCTYPE html>")
    simulator.control("faults", kind="html", times=100)
    simulator.http.delete("/control/faults")
    assert len(simulator.query("Account").rows) == 10


def test_an_answer_can_be_delayed(simulator: Simulator) -> None:
    simulator.control("faults", kind="stall", seconds=0.2)
    start = time.monotonic()
    assert len(simulator.query("Account").rows) == 10
    assert time.monotonic() - start >= 0.2
