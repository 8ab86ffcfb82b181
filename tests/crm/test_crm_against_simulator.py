"""Every fault and every damaged answer of the simulator, over real HTTP; requests are checked in the simulator's log.

The expectations are complete in both directions: a line of the adapter's table that the simulator cannot produce fails,
and so does a fault of the simulator that nothing here expects.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, get_args

import httpx
import pytest

from crm_simulator.fault_table import BAD_CREDENTIALS, CASES, CODES, scripted
from crm_simulator.injection import Kind
from orchestration.catalog import load_catalog
from orchestration.crm import (
    AuthMode,
    CrmAnswerError,
    CrmBudgetExhausted,
    CrmCannotCount,
    CrmClient,
    CrmCredentialsError,
    CrmError,
    CrmNoAccess,
    CrmRefused,
    CrmSettings,
    CrmTooHeavy,
    CrmUnavailable,
    Query,
    any_of,
)
from orchestration.crm import session as crm_session
from orchestration.crm.client import MIN_PAGE_SIZE_ROWS
from orchestration.crm.faults import ACTIONS, MEANINGS, Action, Fault
from tests.ports import free_port

pytestmark = pytest.mark.processes

ACCOUNT = load_catalog()["account"]
ACTIVITY = load_catalog()["activity"]
USED_UP = 1_000  # more often than a test sends requests

# (code, case) of the simulator -> the adapter's action. Codes without a case: Action.REFUSED.
EXPECTED: dict[tuple[str, str], Action] = {
    **{(code, ""): Action.REFUSED for code in CODES if code not in CASES},
    ("SBL-ODU-01005", ""): Action.RETRY_AFTER,
    ("SBL-ODU-01006", "timeout"): Action.RETRY_SMALLER,
    ("SBL-ODU-01006", "session"): Action.LOGIN_AGAIN_ONCE,
    ("SBL-ODU-01006", "credentials"): Action.BAD_CREDENTIALS,
    ("SBL-ODU-01006", "pool"): Action.RETRY,
    ("SBL-ODU-01011", ""): Action.SKIP_OBJECT,
    ("SBL-DAT-00553", ""): Action.SKIP_OBJECT,
    ("SBL-SBL-70172", "operations"): Action.STOP,
    ("SBL-SBL-70172", "concurrent"): Action.RETRY,
    ("SBL-EAI-04376", "generic"): Action.SHRINK,
    ("SBL-EAI-04376", "timeout"): Action.RETRY_SMALLER,
    ("SBL-DBC-00112", ""): Action.SHRINK,
    ("SBL-DAT-00407", ""): Action.WITHOUT_COUNT,
    ("FailedAuthentication", ""): Action.BAD_CREDENTIALS,
    ("InvalidSecurity", ""): Action.BAD_CREDENTIALS,
    ("SessionInvalidated", ""): Action.RETRY,
    ("NestedTimers", ""): Action.RETRY,
}
# Action -> the final error, and the pauses before it in seconds.
OUTCOMES: dict[Action, tuple[type[CrmError], list[float]]] = {
    Action.RETRY_AFTER: (CrmUnavailable, [0.25] * 19),
    Action.RETRY: (CrmUnavailable, [2.0, 4.0, 8.0, 16.0]),
    Action.RETRY_SMALLER: (CrmTooHeavy, [2.0, 4.0]),
    Action.ASK_AGAIN: (CrmAnswerError, [2.0, 4.0]),
    Action.SHRINK: (CrmTooHeavy, []),
    Action.WITHOUT_COUNT: (CrmCannotCount, []),
    Action.LOGIN_AGAIN_ONCE: (CrmUnavailable, []),
    Action.SKIP_OBJECT: (CrmNoAccess, []),
    Action.REFUSED: (CrmRefused, []),
    Action.BAD_CREDENTIALS: (CrmCredentialsError, []),
    Action.STOP: (CrmBudgetExhausted, []),
}
MISCHIEF: dict[str, Action | None] = {
    "reset": Action.ASK_AGAIN,
    "stall": Action.RETRY_SMALLER,
    "slow_body": Action.RETRY_SMALLER,
    "truncated": Action.ASK_AGAIN,
    "empty": Action.ASK_AGAIN,
    "html": Action.ASK_AGAIN,
    "content_type": None,
    "wrong_gzip": Action.ASK_AGAIN,
    "cut_gzip": Action.ASK_AGAIN,
    "gzip_bomb": Action.ASK_AGAIN,
    "xml_entity": Action.ASK_AGAIN,
    "xml_bomb": Action.ASK_AGAIN,
    "xml_external": Action.ASK_AGAIN,
    "huge_text": Action.ASK_AGAIN,
    "no_lastpage": Action.ASK_AGAIN,
    "row_without_id": None,
    "bad_value": None,
    "illegal_character": Action.ASK_AGAIN,
    "no_rows": None,
    "wrong_clock": None,
    "empty_list": None,
    "half_list": None,
}


class Simulator:
    """A simulator process and its log of requests."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.url = url
        self._from = 0

    def order(self, operation: str = "AccountQueryPage", **fault: object) -> None:
        self.http.post("/control/faults", json={"operation": operation, **fault}).raise_for_status()

    def start_afresh(self) -> None:
        self.http.delete("/control/faults").raise_for_status()
        self.http.delete("/control/sessions").raise_for_status()
        self._from = max((entry["number"] for entry in self._entries(0)), default=0)

    @property
    def came(self) -> list[dict[str, Any]]:
        """Requests since the test began."""
        return self._entries(self._from)

    def _entries(self, after: int) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.http.get("/control/requests", params={"after": after}).json()
        return entries


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    port = free_port()
    words = ["--port", str(port), "--accounts", "60", "--territories", "3", "--min-interval-ms", "0"]
    server = subprocess.Popen([sys.executable, "-m", "crm_simulator", *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert "SOAP endpoint" in server.stdout.readline()
    yield Simulator(f"http://127.0.0.1:{port}")
    server.terminate()
    server.wait(timeout=10)


@pytest.fixture
def simulator(process: Simulator) -> Simulator:
    process.start_afresh()
    return process


@pytest.fixture
def connect(simulator: Simulator, pauses: list[float]) -> Iterator[Callable[..., CrmClient]]:
    def sleep(seconds: float) -> None:
        if seconds > 0.1:  # shorter ones keep the minimum gap between requests of a session
            pauses.append(seconds)

    with ExitStack() as stack:

        def client(**changes: Any) -> CrmClient:
            address = f"{simulator.url}/Services/Integration"
            given: dict[str, Any] = {"url": address, "username": "DEMO/INTEGRATION", "password": "simulator-only"}
            return stack.enter_context(CrmClient(CrmSettings(**(given | {"sessions": 1} | changes)), sleep=sleep))

        yield client


def sizes(simulator: Simulator) -> list[int]:
    """How many ids each request asked for."""
    return [len(re.findall(r"\[Id\] =", entry["searchspec"])) for entry in simulator.came]


def account_ids(simulator: Simulator, count: int) -> list[str]:
    return [record["Id"] for record in simulator.http.get("/control/records/Account").json()][:count]


def fault_of(code: str, case: str, language: str = "ENU") -> Fault:
    """A fault as the adapter reads it, without HTTP."""
    xml = scripted(code, case, language).xml
    fault_code = re.findall("<faultcode[^>]*>([^<]*)", xml)
    codes = tuple(dict.fromkeys(re.findall(r"SBL-[A-Z]{3}-\d{5}", xml)))
    text = re.sub("<[^>]*>", " ", xml)
    return Fault(codes, fault_code[0], text, text)


def test_the_adapters_and_the_simulators_fault_tables_cover_each_other() -> None:
    produced = {(code, case) for code in CODES for case in CASES.get(code, [""])}
    assert produced == set(EXPECTED)
    assert set(MISCHIEF) | {"code"} == set(get_args(Kind))
    assert {code for code in CODES if code.startswith("SBL")} == set(ACTIONS)
    told = [fault_of(*key) for key in EXPECTED]
    for name, meaning in MEANINGS.items():
        assert any(meaning.text.search(f"{f.fault_code} {f.text}") and f.action is meaning.action for f in told), name
    assert set(OUTCOMES) == set(Action) == {*EXPECTED.values(), *filter(None, MISCHIEF.values())}


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(("code", "case"), EXPECTED)
def test_a_persistent_fault_is_given_up_after_the_attempts_in_the_table(
    simulator: Simulator, connect: Callable[..., CrmClient], pauses: list[float], code: str, case: str, status: int
) -> None:
    client = connect()
    client.query_page(Query(ACCOUNT), 0, page_size=5)
    simulator.order(kind="code", code=code, case=case, times=USED_UP, status=status)
    action = EXPECTED[code, case]
    error, waits = OUTCOMES[action]
    with pytest.raises(CrmError) as caught:
        client.query_page(Query(ACCOUNT), 0, page_size=5)
    assert type(caught.value) is error
    tried = simulator.came[1:]
    assert len(tried) == crm_session.ATTEMPTS.get(action, 1)
    assert {entry["failure"] for entry in tried} == {code}
    assert pauses == waits
    if action is Action.BAD_CREDENTIALS:
        with pytest.raises(CrmCredentialsError):
            client.query_page(Query(ACCOUNT), 0, page_size=5)
        assert len(simulator.came) == 2


@pytest.mark.parametrize(
    ("code", "case"),
    [key for key, action in EXPECTED.items() if crm_session.ATTEMPTS.get(action, 1) > 1],
)
def test_a_transient_fault_costs_one_retry(
    simulator: Simulator, connect: Callable[..., CrmClient], pauses: list[float], code: str, case: str
) -> None:
    client = connect()
    simulator.order(kind="code", code=code, case=case)
    assert len(client.query_page(Query(ACCOUNT), 0, page_size=5).rows) == 5
    assert [entry["failure"] for entry in simulator.came] == [code, ""]
    assert pauses == OUTCOMES[EXPECTED[code, case]][1][:1]


@pytest.mark.parametrize(
    ("code", "case"), [key for key, a in EXPECTED.items() if a in (Action.SHRINK, Action.RETRY_SMALLER)]
)
def test_a_query_that_is_too_heavy_is_split_into_smaller_ones(
    simulator: Simulator, connect: Callable[..., CrmClient], code: str, case: str
) -> None:
    attempts = crm_session.ATTEMPTS.get(EXPECTED[code, case], 1)
    ids = account_ids(simulator, 40)
    simulator.order(kind="code", code=code, case=case, times=2 * attempts)
    found = connect().read_ids(ACCOUNT, ids)
    assert sorted(row.id for row in found.rows) == sorted(ids)
    assert sizes(simulator) == [40] * attempts + [20] * attempts + [10, 10, 20]


def test_lists_of_ten_ids_are_not_split_further(simulator: Simulator, connect: Callable[..., CrmClient]) -> None:
    simulator.order(kind="code", code="SBL-DBC-00112", times=USED_UP)
    with pytest.raises(CrmTooHeavy):
        connect().read_ids(ACCOUNT, account_ids(simulator, 40))
    assert list(dict.fromkeys(sizes(simulator))) == [40, 20, 10]


def test_a_query_without_ids_is_read_in_smaller_pages_when_too_heavy(
    simulator: Simulator, connect: Callable[..., CrmClient]
) -> None:
    simulator.order(kind="code", code="SBL-DBC-00112", times=3)
    pages = list(connect().read(Query(ACCOUNT)))
    assert len({row.id for page in pages for row in page.rows}) == 60
    asked = [entry["page_size"] for entry in simulator.came]
    assert asked[:4] == [100, 50, 25, 12]
    assert set(asked[4:]) == {12}


def test_pages_never_shrink_below_ten_rows(simulator: Simulator, connect: Callable[..., CrmClient]) -> None:
    simulator.order(kind="code", code="SBL-DBC-00112", times=USED_UP)
    with pytest.raises(CrmTooHeavy):
        list(connect().read(Query(ACCOUNT)))
    asked = [entry["page_size"] for entry in simulator.came]
    assert list(dict.fromkeys(asked)) == [100, 50, 25, 12, MIN_PAGE_SIZE_ROWS]


def test_rows_that_cannot_be_counted_are_read_without_a_count(
    simulator: Simulator, connect: Callable[..., CrmClient]
) -> None:
    """Activities cannot be counted in the simulator, nor on some real pods."""
    page = connect().query_page(Query(ACTIVITY), 0, page_size=5, count=True)
    assert (len(page.rows), page.record_count) == (5, None)
    assert [(entry["counted"], entry["failure"]) for entry in simulator.came] == [(True, "SBL-DAT-00407"), (False, "")]


def test_a_count_that_takes_too_long_returns_none(simulator: Simulator, connect: Callable[..., CrmClient]) -> None:
    simulator.order(kind="code", code="SBL-DBC-00112")
    assert connect().count(Query(ACCOUNT)) is None


@pytest.mark.parametrize("language", BAD_CREDENTIALS)
def test_a_wrong_password_is_tried_only_once_whatever_the_language_of_the_fault(
    simulator: Simulator, connect: Callable[..., CrmClient], language: str
) -> None:
    """Without a session that could have ended, a text in an unknown language also means the password."""
    simulator.order(kind="code", code="SBL-ODU-01006", case="credentials", language=language, times=USED_UP)
    client = connect()
    for _ in range(2):
        with pytest.raises(CrmCredentialsError):
            client.query_page(Query(ACCOUNT), 0)
    assert len(simulator.came) == 1


def test_a_client_logs_in_again_once_after_its_session_ended(
    simulator: Simulator, connect: Callable[..., CrmClient]
) -> None:
    client = connect(auth=AuthMode.SESSION)
    client.query_page(Query(ACCOUNT), 0, page_size=5)
    simulator.http.delete("/control/sessions").raise_for_status()
    assert len(client.query_page(Query(ACCOUNT), 0, page_size=5).rows) == 5
    query = "AccountQueryPage"
    assert [entry["operation"] for entry in simulator.came] == ["login", query, query, "login", query]
    assert [entry["failure"] for entry in simulator.came] == ["", "", "SBL-ODU-01006", "", ""]


def test_a_stateless_client_drops_the_cookie_of_an_ended_session(
    simulator: Simulator, connect: Callable[..., CrmClient]
) -> None:
    client = connect()
    client.query_page(Query(ACCOUNT), 0, page_size=5)
    simulator.order(kind="code", code="SBL-ODU-01006", case="session")
    client.query_page(Query(ACCOUNT), 0, page_size=5)
    assert [entry["cookie"] for entry in simulator.came] == [False, True, False]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits, so that no test waits minutes or unpacks 64 MiB."""
    monkeypatch.setattr("orchestration.crm.transport.READ_TIMEOUT_SECONDS", 3.0)
    monkeypatch.setattr("orchestration.crm.transport.MAX_ANSWER_BYTES", 20 * 1024**2)


HARMFUL = {kind: action for kind, action in MISCHIEF.items() if action is not None}


@pytest.mark.parametrize("kind", HARMFUL)
@pytest.mark.usefixtures("impatient")
def test_persistent_damage_is_an_error_and_never_a_short_page(
    simulator: Simulator,
    connect: Callable[..., CrmClient],
    pauses: list[float],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind in ("stall", "slow_body"):  # every attempt is to time out, also on a slow machine
        monkeypatch.setattr("orchestration.crm.transport.READ_TIMEOUT_SECONDS", 0.5)
    client = connect()
    simulator.order(kind=kind, times=USED_UP, seconds=4, megabytes=30)
    started = time.monotonic()
    error, waits = OUTCOMES[HARMFUL[kind]]
    with pytest.raises(CrmError) as caught:
        client.query_page(Query(ACCOUNT), 0, page_size=5)
    assert type(caught.value) is error
    assert pauses == waits
    assert [entry["failure"] for entry in simulator.came] == [kind] * (len(waits) + 1)
    assert time.monotonic() - started < 60
    zipped = [entry["gzip"] for entry in simulator.came]
    assert zipped == [True] * len(zipped) if kind not in ("wrong_gzip", "cut_gzip") else [True, False, False]


@pytest.mark.parametrize("kind", HARMFUL)
@pytest.mark.usefixtures("impatient")
def test_transient_damage_costs_one_retry_and_no_row(
    simulator: Simulator, connect: Callable[..., CrmClient], pauses: list[float], kind: str
) -> None:
    simulator.order(kind=kind, seconds=4, megabytes=30)
    rows = [row for page in connect().read(Query(ACCOUNT)) for row in page.rows]
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert len(rows) == 60
    assert pauses == [2.0]


def test_a_pod_that_is_down_is_retried_with_growing_pauses(
    simulator: Simulator, connect: Callable[..., CrmClient], pauses: list[float]
) -> None:
    simulator.order(kind="html", status=503, times=USED_UP)
    with pytest.raises(CrmUnavailable, match="HTTP 503"):
        connect().query_page(Query(ACCOUNT), 0)
    assert pauses == OUTCOMES[Action.RETRY][1]


@pytest.mark.parametrize("kind", ["row_without_id", "bad_value"])
def test_a_bad_row_is_quarantined_only_after_its_page_was_requested_again(
    simulator: Simulator, connect: Callable[..., CrmClient], kind: str
) -> None:
    client = connect()
    query = Query(ACCOUNT, any_of("Id", account_ids(simulator, 3)))
    simulator.order(kind=kind)
    page = client.query_page(query, 0)
    assert (len(page.rows), page.quarantined) == (3, [])
    simulator.order(kind=kind, times=2)
    page = client.query_page(query, 0)
    # Without its Id a row is of no use; with a bad value, the rest of it is.
    assert (len(page.rows), len(page.quarantined)) == (2 if kind == "row_without_id" else 3, 1)
    assert [entry["failure"] for entry in simulator.came] == [kind, "", kind, kind]


def test_a_wrong_content_type_is_accepted(simulator: Simulator, connect: Callable[..., CrmClient]) -> None:
    simulator.order(kind="content_type")
    assert len(connect().query_page(Query(ACCOUNT), 0, page_size=5).rows) == 5
