"""Clock, deleted items, login sessions, request rate and settings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.crm import ConfigurationError, CrmClient, CrmCredentialsError, CrmSettings, CrmUnavailable, Query
from orchestration.crm.pacing import GAP_SECONDS, Pacer
from tests.crm.wire import (
    CONTACT,
    Asked,
    FakeCrm,
    Said,
    envelope,
    front_fault,
    manager_fault,
    page,
    row,
    settings,
    v2_wsdl,
)

Connect = Callable[..., CrmClient]


def clock(local: str, zone: str) -> bytes:
    return envelope(
        f'<n:TimeWS_GetServerTime_Output xmlns:n="urn:crmondemand/ws/time/"><n:CurrentServerTime>{local}'
        f"</n:CurrentServerTime><n:TimeZone>{zone}</n:TimeZone></n:TimeWS_GetServerTime_Output>"
    )


@pytest.mark.parametrize(
    ("local", "zone", "date_header"),
    [
        ("03/01/2012 08:00:00", "(GMT) Greenwich Mean Time : Dublin, London", "Thu, 01 Mar 2012 08:00:02 GMT"),
        ("03/01/2012 09:00:00", "(GMT+01:00) Amsterdam", "Thu, 01 Mar 2012 08:00:02 GMT"),
        ("03/01/2012 03:00:00", "(GMT-05:00) Eastern Time", "Thu, 01 Mar 2012 08:00:02 GMT"),
        ("03/01/2012 13:30:00", "(GMT+05:30) Calcutta", "Thu, 01 Mar 2012 07:59:58 GMT"),
        ("03/01/2012 04:00:00", "(GMT-05:00) Eastern Time, on daylight saving", "Thu, 01 Mar 2012 08:00:02 GMT"),
        ("03/01/2012 17:00:00", "東京", "Thu, 01 Mar 2012 08:00:02 GMT"),
        ("03/01/2012 08:00:00", "(GMT) a clock far from the front end's", "Tue, 06 Mar 2012 12:00:00 GMT"),
        ("03/01/2012 08:00:00", "(GMT)", "nonsense"),
    ],
)
def test_the_server_time_is_converted_to_utc(
    client: CrmClient, crm: FakeCrm, local: str, zone: str, date_header: str
) -> None:
    crm.date = date_header
    crm.say(clock(local, zone))
    told = client.clock()
    assert told.surely_past == datetime(2012, 3, 1, 8, 0, 0, tzinfo=UTC)
    assert told.now - told.surely_past == timedelta(hours=1 if "daylight saving" in zone else 0)
    assert crm.asked[0].headers["SOAPAction"] == '"document/urn:crmondemand/ws/time/:GetServerTime"'
    assert client.operations_spent == 0


@pytest.mark.parametrize("fault", [front_fault("SBL-ODU-01011"), manager_fault("SBL-EAI-04316")])
def test_without_a_time_service_the_date_header_is_used(client: CrmClient, crm: FakeCrm, fault: bytes) -> None:
    crm.date = "Thu, 01 Mar 2012 08:00:00 GMT"
    crm.say(fault, Said(b"<html/>", 405))
    assert client.clock().now == datetime(2012, 3, 1, 8, 0, 0, tzinfo=UTC)
    assert b"s3cret" not in crm.asked[-1].body


def test_without_a_time_wsdl_the_date_header_is_used(crm: FakeCrm, tmp_path: Path) -> None:
    (tmp_path / "c.wsdl").write_text(v2_wsdl("Contact", {"Id": "string"}, {}))
    crm.date = "Thu, 01 Mar 2012 08:00:00 GMT"
    with CrmClient(settings(crm, tmp_path)) as client:
        assert client.clock().now == datetime(2012, 3, 1, 8, 0, 0, tzinfo=UTC)


def test_bad_credentials_are_an_error_although_the_date_header_is_there(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(front_fault("SBL-ODU-01006", "wrong password"))
    with pytest.raises(CrmCredentialsError):
        client.clock()


class Bin:
    """A Deleted Items list in the time zone of New York."""

    def __init__(self, count: int) -> None:
        start = datetime(2012, 3, 1, 3, 0, 0, tzinfo=UTC)
        self.rows = [
            f"<DeletedItem><DeletedItemId>D{n}</DeletedItemId>"
            f"<DeletedDate>{start + timedelta(seconds=n):%m/%d/%Y %H:%M:%S}</DeletedDate>"
            f"<Name>Jane Doe</Name><ObjectId>1-{n}</ObjectId><Type>Action***Task</Type></DeletedItem>"
            for n in range(count)
        ]

    def __call__(self, asked: Asked) -> bytes:
        if "GetServerTime" in asked.headers["SOAPAction"]:
            return clock(f"{datetime.now(UTC) - timedelta(hours=5):%m/%d/%Y %H:%M:%S}", "(GMT-05:00) Eastern Time")
        start, size = (int(next(asked.root.iter(f"{{*}}{name}")).text or "") for name in ("StartRowNum", "PageSize"))
        last = str(start + size >= len(self.rows)).lower()
        return envelope(
            f'<n:DeletedItemWS_DeletedItemQueryPage_Output xmlns:n="urn:crmondemand/ws/deleteditem/"><n:LastPage>{last}'
            f'</n:LastPage><ListOfDeletedItem xmlns="urn:/x">{"".join(self.rows[start : start + size])}'
            "</ListOfDeletedItem></n:DeletedItemWS_DeletedItemQueryPage_Output>"
        )


def test_all_deleted_items_are_read_with_their_times_in_utc(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = Bin(250)
    found = client.deleted_items(since=datetime(2012, 3, 1, 8, 0, 0, tzinfo=UTC))
    assert [item.object_id for item in found] == [f"1-{n}" for n in range(250)]
    assert found[0].deleted_at == datetime(2012, 3, 1, 8, 0, 0, tzinfo=UTC)
    assert found[0].type == "Action***Task"
    asked = crm.asked[1]
    assert [e.text for e in asked.root.iter("{*}DeletedDate")] == ["> '03/01/2012 02:59:59'"]
    assert list(asked.root.iter("{*}Name")) == []
    assert client.operations_spent == 3


def test_deleted_items_with_an_unreadable_date_or_without_a_record_are_kept(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Bin(3)
    table.rows[0] = table.rows[0].replace("03/01/2012", "01.03.2012")
    table.rows[1] = table.rows[1].replace("<ObjectId>1-1</ObjectId>", "")
    found = client.deleted_items(since=datetime(2012, 3, 1, tzinfo=UTC))
    assert [(item.object_id, item.deleted_at is None) for item in found] == [
        ("1-0", True),
        ("", False),
        ("1-2", False),
    ]


@pytest.mark.parametrize("fault", [manager_fault("SBL-DAT-00553", "SBL-EAI-04376"), front_fault("SBL-ODU-01011")])
def test_a_deleted_items_list_without_access_is_empty_with_a_warning(
    client: CrmClient, crm: FakeCrm, caplog: pytest.LogCaptureFixture, fault: bytes
) -> None:
    crm.say(clock("03/01/2012 08:00:00", "(GMT)"), fault)
    with caplog.at_level(logging.WARNING):
        assert client.deleted_items(since=datetime(2012, 3, 1, tzinfo=UTC)) == []
    assert "not open to this user" in caplog.text


# Login sessions


class Pod:
    """A CRM with login sessions that can be ended, and messages in an unknown language."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.logins = 0
        self.logoffs = 0

    def __call__(self, asked: Asked) -> bytes | Said:
        cookie = asked.headers.get("Cookie", "").removeprefix("JSESSIONID=")
        if "command=login" in asked.path:
            assert (asked.headers["UserName"], asked.headers["Password"]) == ("ACME/reader", "s3cret'<&")
            self.logins += 1
            self.sessions.add(f"s{self.logins}")
            return Said(b"", headers={"Set-Cookie": f"JSESSIONID=s{self.logins}; path=/"})
        if "command=logoff" in asked.path:
            self.logoffs += 1
            self.sessions.remove(cookie)
            return b""
        assert b"s3cret" not in asked.body
        return page(row("1")) if cookie in self.sessions else front_fault("SBL-ODU-01006", "Сессия недоступна")


def test_a_session_logs_in_once_and_logs_off_at_the_end(connect: Connect, crm: FakeCrm) -> None:
    crm.answer = pod = Pod()
    client = connect(auth="session")
    for _ in range(3):
        client.query_page(Query(CONTACT), 0)
    client.close()
    client.close()
    assert (pod.logins, pod.logoffs, pod.sessions) == (1, 1, set())


def test_a_session_that_ended_logs_in_again(connect: Connect, crm: FakeCrm) -> None:
    crm.answer = pod = Pod()
    client = connect(auth="session", sessions=1)
    client.query_page(Query(CONTACT), 0)
    pod.sessions.clear()
    assert len(client.query_page(Query(CONTACT), 0).rows) == 1
    assert pod.logins == 2


def test_a_session_that_ends_after_every_login_is_given_up(connect: Connect, crm: FakeCrm) -> None:
    pod = Pod()

    def answer(asked: Asked) -> bytes | Said:
        if asked.method == "POST":
            pod.sessions.clear()
        return pod(asked)

    crm.answer = answer
    with pytest.raises(CrmUnavailable, match="SBL-ODU-01006"):
        connect(auth="session", sessions=1).query_page(Query(CONTACT), 0)
    assert pod.logins == 2


@pytest.mark.parametrize("reason", [b"", b"SBL-ODU-01006: Mot de passe", b"<html>The user ID or password is wrong"])
def test_a_login_without_a_cookie_fails_and_is_not_repeated(connect: Connect, crm: FakeCrm, reason: bytes) -> None:
    crm.answer = lambda _: Said(reason)
    client = connect(auth="session")
    for _ in range(2):
        with pytest.raises(CrmCredentialsError):
            client.query_page(Query(CONTACT), 0)
    assert len(crm.asked) == 1


def test_a_login_while_the_pod_is_down_or_full_is_repeated(connect: Connect, crm: FakeCrm) -> None:
    full = b"The maximum number of concurrent sessions was reached. (SBL-ODU-01006)"
    crm.say(Said(b"<html>", 503), front_fault("SBL-ODU-01005"), Said(full))
    crm.answer = Pod()
    assert len(connect(auth="session").query_page(Query(CONTACT), 0).rows) == 1


def test_non_ascii_login_names_are_encoded(connect: Connect, crm: FakeCrm) -> None:
    crm.answer = lambda _: Said(b"")
    with pytest.raises(CrmCredentialsError):
        connect(auth="session", password="Größe 1").query_page(Query(CONTACT), 0)
    assert crm.asked[0].headers["Password"] == "Gr%C3%B6%C3%9Fe%201"
    assert "isEncoded=Y" in crm.asked[0].path


# Pace


def test_requests_of_a_session_are_at_least_50_ms_apart() -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pacer = Pacer(sleep, lambda: now[0])
    pacer.wait()
    assert slept == []
    now[0] += 0.01
    pacer.wait()
    assert slept == [pytest.approx(GAP_SECONDS - 0.01)]
    now[0] += 1
    pacer.wait()
    assert len(slept) == 1
    assert GAP_SECONDS >= 0.05


# Settings

COMPLETE = {"CRMOD_URL": "crm.example.com", "CRMOD_USERNAME": "ACME/reader", "CRMOD_PASSWORD": "s3cret"}


def from_environment(tmp_path: Path, **changes: str) -> CrmSettings:
    return CrmSettings.from_environment(COMPLETE | {"CRMOD_WSDL_DIR": str(tmp_path)} | changes)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("crm.example.com", "https://crm.example.com/Services/Integration"),
        ("https://crm.example.com/", "https://crm.example.com/Services/Integration"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/Services/Integration"),
        ("127.0.0.1:8080", "https://127.0.0.1:8080/Services/Integration"),
        ("https://crm.example.com/other/path", "https://crm.example.com/other/path"),
    ],
)
def test_the_url_may_be_a_host_or_an_endpoint(tmp_path: Path, text: str, url: str) -> None:
    assert from_environment(tmp_path, CRMOD_URL=text).url == url


def test_the_default_settings_are_cautious_and_the_password_is_hidden(tmp_path: Path) -> None:
    found = from_environment(tmp_path)
    assert (found.sessions, found.operations_budget, found.auth) == (4, None, "stateless")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("name", COMPLETE)
def test_an_error_names_the_missing_setting(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        CrmSettings.from_environment({key: value for key, value in COMPLETE.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRMOD_SESSIONS", "0"),
        ("CRMOD_SESSIONS", "9"),
        ("CRMOD_SESSIONS", "many"),
        ("CRMOD_OPERATIONS_BUDGET", "0"),
        ("CRMOD_OPERATIONS_BUDGET", "-5"),
        ("CRMOD_AUTH", "basic"),
        ("CRMOD_WSDL_DIR", "/nowhere/at/all"),
        ("CRMOD_URL", "ftp://crm.example.com"),
        ("CRMOD_URL", "https://user:pass@crm.example.com"),
        ("CRMOD_URL", "https://crm.example.com:port/"),
    ],
)
def test_an_error_names_the_wrong_setting(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        from_environment(tmp_path, **{name: value})
