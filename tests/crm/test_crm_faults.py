"""How each fault of the CRM is handled."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from orchestration.crm import (
    CrmBudgetExhausted,
    CrmCannotCount,
    CrmClient,
    CrmCredentialsError,
    CrmError,
    CrmNoAccess,
    CrmRefused,
    CrmTooHeavy,
    CrmUnavailable,
    Query,
)
from orchestration.crm.faults import ACTIONS, Action, Fault
from tests.crm.wire import CONTACT, FakeCrm, Said, envelope, front_fault, manager_fault, page, row

Connect = Callable[..., CrmClient]
PROBE = Query(CONTACT)

# (codes, text, final error, requests sent)
LINES = [
    (("SBL-ODU-01005",), "Please try again", CrmUnavailable, 20),
    (("SBL-ODU-01006",), "RIP_WAIT_ERROR_TIMEOUT", CrmTooHeavy, 3),
    (("SBL-ODU-01006",), "Session is not available", CrmUnavailable, 2),
    (("SBL-ODU-01006",), "The password you entered is wrong", CrmCredentialsError, 1),
    (("SBL-ODU-01006",), "Das Passwort in dieser Session ist falsch", CrmCredentialsError, 1),
    (("SBL-ODU-01006",), "Неверно", CrmCredentialsError, 1),
    (("SBL-ODU-01006",), "com.siebel.IntegrationServletException", CrmUnavailable, 5),
    ((), "The security token could not be authenticated or authorized", CrmCredentialsError, 1),
    ((), "Missing wsse:Security header in request", CrmCredentialsError, 1),
    (("SBL-ODU-01007",), "", CrmRefused, 1),
    (("SBL-ODU-01008",), "", CrmRefused, 1),
    (("SBL-ODU-01011",), "", CrmNoAccess, 1),
    (("SBL-SBL-70172",), "", CrmBudgetExhausted, 1),
    (("SBL-SBL-70172",), "The Web Services Concurrent Request Allotment has been reached.", CrmUnavailable, 5),
    (("SBL-SBL-70172",), "Das Kontingent gleichzeitiger Anforderungen ist erreicht.", CrmUnavailable, 5),
    (("SBL-DAT-00553", "SBL-EAI-04376"), "", CrmNoAccess, 1),
    (("SBL-EAI-04376",), "", CrmTooHeavy, 1),
    (("SBL-EAI-04376",), "RIP_WAIT_ERROR_TIMEOUT", CrmTooHeavy, 3),
    (("SBL-EAI-04376", "SBL-DAT-00407"), "", CrmCannotCount, 1),
    (("SBL-DBC-00112", "SBL-EAI-04376"), "", CrmTooHeavy, 1),
    (("SBL-EAI-04447",), "", CrmRefused, 1),
    (("SBL-EAI-04471",), "", CrmRefused, 1),
    (("SBL-EAI-04316", "SBL-EAI-04127"), "", CrmRefused, 1),
    (("SBL-EAI-04378",), "", CrmRefused, 1),
    (("SBL-EAI-04403",), "", CrmRefused, 1),
    (("SBL-EAI-04397",), "", CrmRefused, 1),
    (("SBL-EAI-04421",), "", CrmRefused, 1),
    (("SBL-ODS-00336",), "", CrmRefused, 1),
    (("SBL-EAI-04401",), "", CrmRefused, 1),
    (("SBL-DAT-00523",), "", CrmRefused, 1),
    (("SBL-DAT-00381",), "", CrmRefused, 1),
    (("SBL-DAT-00498",), "", CrmRefused, 1),
    (("SBL-DAT-00542",), "", CrmRefused, 1),
    (("SBL-ODS-50085",), "Not a valid session pick-list", CrmRefused, 1),
    (("SBL-XYZ-99999",), "never seen before", CrmRefused, 1),
    ((), "Session already invalidated", CrmUnavailable, 5),
    ((), "Nested timers", CrmUnavailable, 5),
    ((), "Something new", CrmRefused, 1),
]


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("shape", ["front", "manager"])
@pytest.mark.parametrize(("codes", "text", "error", "requests"), LINES)
def test_each_fault_is_handled_as_the_table_says(
    client: CrmClient,
    crm: FakeCrm,
    status: int,
    shape: str,
    codes: tuple[str, ...],
    text: str,
    error: type[CrmError],
    requests: int,
) -> None:
    nested = "".join(f"({code})" for code in codes[1:])
    content = manager_fault(*codes, text=text) if shape == "manager" else front_fault((*codes, "")[0], text + nested)
    crm.answer = lambda _: Said(content, status)
    with pytest.raises(CrmError) as caught:
        client.query_page(PROBE, 0)
    assert type(caught.value) is error
    assert set(codes) == set(caught.value.codes)
    assert len(crm.asked) == requests == sum(client.faults.values()) == client.requests_sent


def test_the_fault_table_has_every_documented_code() -> None:
    codes = (
        "DAT-00381 DAT-00382 EAI-04383 DAT-00357 DAT-00510 DAT-00225 DAT-00235 DAT-00521 ODS-50736 DAT-00278 DAT-00279"
    )
    more = "DAT-00284 ODS-00446 ODS-50720 ODS-50731 ODS-50735 SBL-00000 EAI-04127"
    assert {ACTIONS[f"SBL-{code}"] for code in f"{codes} {more}".split()} == {Action.REFUSED}


def test_a_failed_authentication_is_recognised_by_its_fault_code(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: manager_fault(text="Non autorisé", fault_code="wsse:FailedAuthentication").replace(
        b"<SOAP-ENV:Fault", b'<SOAP-ENV:Fault xmlns:wsse="urn:x"'
    )
    with pytest.raises(CrmCredentialsError):
        client.query_page(PROBE, 0)


def test_soap_1_2_faults_are_understood(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: (
        b'<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><e:Fault><e:Reason><e:Text>(SBL-DAT-00553)'
        b"</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>"
    )
    with pytest.raises(CrmNoAccess):
        client.query_page(PROBE, 0)


def test_the_client_waits_as_long_as_the_crm_asks(client: CrmClient, crm: FakeCrm, pauses: list[float]) -> None:
    crm.say(front_fault("SBL-ODU-01005", wait=750), page(row("1")))
    assert len(client.query_page(PROBE, 0).rows) == 1
    assert 0.75 in pauses
    assert client.faults == {"SBL-ODU-01005": 1}


def test_parallel_sessions_try_bad_credentials_exactly_once(connect: Connect, crm: FakeCrm) -> None:
    client = connect(sessions=8)
    crm.answer = lambda _: front_fault("SBL-ODU-01006", "Invalid user ID or password ACME/reader s3cret")
    errors: list[CrmCredentialsError] = []

    def ask() -> None:
        with pytest.raises(CrmCredentialsError) as caught:
            client.query_page(PROBE, 0)
        errors.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 8
    assert len(crm.asked) == 1
    assert "CRMOD_PASSWORD" in str(errors[0])
    assert "s3cret" not in str(errors[0])
    assert "ACME/reader" not in str(errors[0])


def test_a_session_cookie_in_a_refusal_does_not_cause_a_retry(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: Said(front_fault("SBL-ODU-01006", "Неверно"), headers={"Set-Cookie": "JSESSIONID=x"})
    with pytest.raises(CrmCredentialsError):
        client.query_page(PROBE, 0)
    assert len(crm.asked) == 1


def test_http_401_means_bad_credentials(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: Said(b"<html>Unauthorized</html>", 401)
    for _ in range(2):
        with pytest.raises(CrmCredentialsError):
            client.query_page(PROBE, 0)
    assert len(crm.asked) == 1


def test_error_messages_do_not_contain_literals_of_the_query(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: manager_fault("SBL-EAI-04316", text="Bad search [Name] = 'Jane Doe'")
    with pytest.raises(CrmRefused) as caught:
        client.query_page(PROBE, 0)
    assert "Jane" not in str(caught.value)
    assert "Bad search" in str(caught.value)


def test_rows_are_read_without_a_count_where_counting_fails(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda asked: (
        manager_fault("SBL-EAI-04376", "SBL-DAT-00407")
        if asked.rows().get("recordcountneeded") == "true"
        else page(row("1"))
    )
    found = client.query_page(PROBE, 0, count=True)
    assert (len(found.rows), found.record_count) == (1, None)
    assert client.count(PROBE) is None


def test_counting_requests_only_one_id(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(page(row("1"), last=False, attributes='recordcount="4711"'))
    assert client.count(Query(CONTACT, "[Name] = 'x'")) == 4711
    (asked,) = crm.asked
    assert asked.page_size == 1
    assert len(asked.rows()[0]) == 1


def test_no_request_is_sent_that_could_exceed_the_budget(connect: Connect, crm: FakeCrm) -> None:
    client = connect(operations_budget=2)
    for _ in range(2):
        client.query_page(PROBE, 0)
    with pytest.raises(CrmBudgetExhausted, match="CRMOD_OPERATIONS_BUDGET"):
        client.query_page(PROBE, 0)
    assert len(crm.asked) == client.operations_spent == 2


def test_requests_rejected_by_the_front_end_cost_no_operation(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(front_fault("SBL-ODU-01005", wait=1), manager_fault("SBL-ODU-01006", text="RIP_WAIT_ERROR_TIMEOUT"))
    client.query_page(PROBE, 0)
    assert client.requests_sent == 3
    assert client.operations_spent == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("(SBL-EAI-04376) x (SBL-DAT-00553)", "SBL-DAT-00553"),
        ("(SBL-ABC-12345)(SBL-EAI-04376)", "SBL-EAI-04376"),
        ("(SBL-ABC-12345)(SBL-DBC-00112)", "SBL-DBC-00112"),
        ("SBL-ODU-01006 (SBL-DBC-00112)", "SBL-DBC-00112"),
        ("(SBL-ABC-12345)", "SBL-ABC-12345"),
    ],
)
def test_the_most_specific_fault_code_wins(text: str, code: str) -> None:
    assert Fault.from_text(text).code == code


def test_a_fault_element_inside_row_data_is_not_a_fault(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(page(row("1", "<Fault>x</Fault>")))
    assert len(client.query_page(PROBE, 0).rows) == 1


def test_a_good_answer_with_an_http_error_status_is_not_trusted(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: Said(page(row("1")), 500)
    with pytest.raises(CrmUnavailable):
        client.query_page(PROBE, 0)


def test_an_empty_fault_raises_crm_refused(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: envelope("<SOAP-ENV:Fault/>")
    with pytest.raises(CrmRefused):
        client.query_page(PROBE, 0)
