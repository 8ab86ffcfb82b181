"""Each fault of the CRM that a test can order, in its documented form."""

from __future__ import annotations

import re

import pytest

from crm_simulator.fault_table import BAD_CREDENTIALS, CASES, CODES
from tests.simulator.conftest import Simulator, make_simulator

SIEBEL = "{http://www.siebel.com/ws/fault}"
FRONT_END = {*(code for code in CODES if code.startswith("SBL-ODU")), "SBL-SBL-70172"}
PLAIN = {code for code in CODES if not code.startswith("SBL")}
PAIRS = {
    "SBL-EAI-04316": ["(SBL-EAI-04127)", "(SBL-EAI-04316)"],
    "SBL-EAI-04127": ["(SBL-EAI-04127)", "(SBL-EAI-04316)"],
    "SBL-EAI-04401": ["(SBL-DAT-00523)", "(SBL-EAI-04401)"],
    "SBL-DAT-00523": ["(SBL-DAT-00523)", "(SBL-EAI-04401)"],
}
ALONE = {"SBL-EAI-04376", "SBL-EAI-04447", "SBL-EAI-04471", "SBL-EAI-04397", "SBL-SBL-00000"}
# All documented codes, so that none is removed unnoticed.
DOCUMENTED = """
    SBL-ODU-01005 SBL-ODU-01006 SBL-ODU-01007 SBL-ODU-01008 SBL-ODU-01011 SBL-SBL-70172 SBL-DAT-00553 SBL-EAI-04376
    SBL-DAT-00407 SBL-DBC-00112 SBL-EAI-04447 SBL-EAI-04471 SBL-EAI-04316 SBL-EAI-04127 SBL-EAI-04378 SBL-EAI-04403
    SBL-EAI-04397 SBL-EAI-04421 SBL-ODS-00336 SBL-EAI-04401 SBL-DAT-00523 SBL-DAT-00381 SBL-DAT-00382 SBL-EAI-04383
    SBL-DAT-00357 SBL-DAT-00498 SBL-DAT-00510 SBL-DAT-00225 SBL-DAT-00235 SBL-DAT-00521 SBL-ODS-50736 SBL-DAT-00542
    SBL-DAT-00278 SBL-DAT-00279 SBL-DAT-00284 SBL-ODS-00446 SBL-ODS-50085 SBL-ODS-50720 SBL-ODS-50731 SBL-ODS-50735
    SBL-SBL-00000 FailedAuthentication InvalidSecurity SessionInvalidated NestedTimers
"""


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return make_simulator()


def test_the_table_has_every_documented_code(simulator: Simulator) -> None:
    assert set(CODES) == set(DOCUMENTED.split())
    offered = simulator.http.get("/control/faults").json()
    assert (set(offered["codes"]), offered["cases"]) == (set(CODES), CASES)


@pytest.mark.parametrize("code", sorted(FRONT_END))
def test_front_end_faults_have_their_code_in_an_error_code_element(simulator: Simulator, code: str) -> None:
    simulator.control("faults", kind="code", code=code)
    answer = simulator.query("Account")
    assert answer.response.status_code == 500
    assert answer.root.findtext(".//detail/ErrorCode") == code
    assert answer.root.findtext(".//detail/ErrorMessage") == answer.root.findtext(".//faultstring")
    assert (answer.root.findtext(".//detail/RequestWait") == "250") == (code == "SBL-ODU-01005")


@pytest.mark.parametrize("code", sorted(set(CODES) - FRONT_END - PLAIN))
def test_object_manager_faults_have_an_error_stack_with_the_innermost_error_first(
    simulator: Simulator, code: str
) -> None:
    simulator.control("faults", kind="code", code=code)
    answer = simulator.query("Account")
    stack = [entry.text for entry in answer.root.iter(f"{SIEBEL}errorcode")]
    expected = [f"({code})"] if code in ALONE else PAIRS.get(code, [f"({code})", "(SBL-EAI-04376)"])
    assert stack == expected
    assert re.findall(r"\(SBL-[A-Z]{3}-\d{5}\)", answer.root.findtext(".//faultstring") or "")[-1] == expected[-1]


@pytest.mark.parametrize(
    ("code", "fault_code", "text"),
    [
        ("FailedAuthentication", "wsse:FailedAuthentication", "could not be authenticated"),
        ("InvalidSecurity", "wsse:InvalidSecurity", "Missing wsse:Security"),
        ("SessionInvalidated", "soap:Server", "Session already invalidated"),
        ("NestedTimers", "soap:Server", "Nested timers"),
    ],
)
def test_some_faults_have_only_a_text(simulator: Simulator, code: str, fault_code: str, text: str) -> None:
    simulator.control("faults", kind="code", code=code)
    answer = simulator.query("Account")
    assert answer.root.findtext(".//faultcode") == fault_code
    assert text in (answer.root.findtext(".//faultstring") or "")
    assert answer.root.find(".//detail") is None


@pytest.mark.parametrize(("code", "case"), [(code, case) for code, cases in CASES.items() for case in cases])
def test_a_code_with_several_meanings_has_the_text_of_the_requested_case(
    simulator: Simulator, code: str, case: str
) -> None:
    simulator.control("faults", kind="code", code=code, case=case)
    fault = simulator.query("Account").fault
    assert code in fault
    assert CASES[code][case] in fault


def test_refused_credentials_are_reported_in_the_language_of_the_user(simulator: Simulator) -> None:
    texts = set()
    for language in BAD_CREDENTIALS:
        simulator.control("faults", kind="code", code="SBL-ODU-01006", case="credentials", language=language)
        texts.add(simulator.query("Account").root.findtext(".//ErrorMessage"))
    assert texts == set(BAD_CREDENTIALS.values())
    assert len(texts) >= 6


@pytest.mark.parametrize("body", [{"case": "nonsense"}, {"language": "XXX"}])
def test_an_unknown_case_or_language_is_refused(simulator: Simulator, body: dict[str, str]) -> None:
    assert simulator.control("faults", 400, kind="code", code="SBL-ODU-01006", **body)["error"]


def test_the_request_log_shows_requests_and_their_answers(simulator: Simulator) -> None:
    before = simulator.http.get("/control/requests").json()
    simulator.control("faults", kind="code", code="SBL-DBC-00112")
    for _ in range(2):
        simulator.query("Account", spec="[Id] = 'x'", pagesize=5, startrownum=10, recordcountneeded="true")
    first, second = simulator.http.get("/control/requests", params={"after": before[-1]["number"]}).json()
    assert first | {"number": 0, "failure": ""} == second | {"number": 0}
    assert (first["failure"], second["failure"]) == ("SBL-DBC-00112", "")
    assert (second["operation"], second["page_size"], second["start_row"]) == ("AccountQueryPage", 5, 10)
    assert (second["counted"], second["searchspec"]) == (True, "[Id] = 'x'")
    assert second["number"] == first["number"] + 1
