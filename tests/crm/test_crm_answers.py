"""Reading answers: typed rows, quarantined rows, and damaged answers, which are never taken for short pages."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from orchestration.catalog import FieldType
from orchestration.crm import CrmAnswerError, CrmClient, CrmTooHeavy, CrmUnavailable, Query
from orchestration.crm.faults import Action
from orchestration.crm.rows import Page
from orchestration.crm.session import ATTEMPTS
from orchestration.crm.values import CONVERTERS, decimal_text
from tests.crm.wire import CONTACT, LINKED, FakeCrm, Said, envelope, page, row

Connect = Callable[..., CrmClient]


def read_one(client: CrmClient, crm: FakeCrm, inner: str) -> Page:
    crm.answer = lambda _: page(row("1-A", inner))
    return client.query_page(Query(CONTACT), 0)


def test_rows_have_typed_and_raw_values(client: CrmClient, crm: FakeCrm) -> None:
    (found,) = read_one(
        client,
        crm,
        "<Name>  Müller &amp; <![CDATA[<Söhne>]]><!-- x --> </Name><Revenue>120000.50</Revenue><Visits>-3</Visits>"
        "<Private>Y</Private><Born>1980-02-29Z</Born><ModifiedDate>2012-03-01T09:12:40.5+01:00</ModifiedDate>"
        "<Unasked>1</Unasked>",
    ).rows
    assert found.id == "1-A"
    assert found.values == {
        "Name": "  Müller & <Söhne> ",
        "Revenue": "120000.50",
        "Visits": -3,
        "Private": True,
        "Born": date(1980, 2, 29),
        "ModifiedDate": datetime(2012, 3, 1, 8, 12, 40, 500000, UTC),
    }
    assert found.modified_date == found.values["ModifiedDate"]
    assert found.raw["ModifiedDate"] == "2012-03-01T09:12:40.5+01:00"
    assert "Unasked" not in found.raw


def test_absent_and_empty_fields_are_none(client: CrmClient, crm: FakeCrm) -> None:
    (found,) = read_one(client, crm, "<Name/><Visits/><Revenue> </Revenue>").rows
    assert set(found.values) == set(CONTACT.fields)
    assert set(found.values.values()) == {None}
    assert found.modified_date is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("120000.50", "120000.50"), ("+5", "5"), (".5", "0.5"), ("5.", "5"), ("007.10", "7.10"), ("-0.00", "0.00"),
     ("-.5", "-0.5"), ("0", "0"), ("12345678901234567890.123", "12345678901234567890.123")],
)  # fmt: skip
def test_decimals_become_json_numbers_with_the_same_digits(text: str, number: str) -> None:
    assert decimal_text(text) == number


@pytest.mark.parametrize(
    ("field", "text"),
    [("Revenue", "1,234"), ("Revenue", "n/a"), ("Revenue", "1e5"), ("Revenue", "."), ("Revenue", "-"), ("Revenue", "٣"),
     ("Visits", "3.0"), ("Visits", "1 000"), ("Private", "maybe"), ("Born", "03/01/2012"), ("Born", "2012-02-30"),
     ("ModifiedDate", "03/01/2012 08:00:00"), ("ModifiedDate", "2012-03-01T25:00:00Z"), ("ModifiedDate", "2012-03-01"),
     ("ModifiedDate", "0001-01-01T00:00:00+14:00")],
)  # fmt: skip
def test_a_bad_value_quarantines_its_row_and_is_not_repeated_in_the_reason(
    client: CrmClient, crm: FakeCrm, field: str, text: str
) -> None:
    crm.answer = lambda _: page(row("1-A", f"<{field}>{text}</{field}>"), row("1-B"))
    found = client.query_page(Query(CONTACT), 0)
    assert [r.id for r in found.rows] == ["1-B"]
    (defect,) = found.quarantined
    assert (defect.object, defect.row_id, defect.field) == ("contact", "1-A", field)
    assert len(text) == 1 or text not in str(defect)
    assert found.received == 2


@pytest.mark.parametrize("inner", ["<Name>a</Name><Name>b</Name>", "<Name><b>a</b></Name>"])
def test_a_repeated_or_nested_field_quarantines_its_row(client: CrmClient, crm: FakeCrm, inner: str) -> None:
    assert read_one(client, crm, inner).quarantined[0].field == "Name"


@pytest.mark.parametrize(
    "inner",
    ["", "<Name/>", "<Name>a</Name>", "<Name> </Name>", "<Name>a</Name><Name>b</Name>", "<Name><b>a</b></Name>",
     "<Unasked>1</Unasked><Name>a</Name>", "<Unasked>1</Unasked><Unasked>2</Unasked>", "<Unasked><b/></Unasked>",
     "<Name>a</Name><Unasked/><Name/>", "<Name>a<b/>c</Name>", "<Id>2-B</Id>"],
)  # fmt: skip
def test_a_row_is_read_the_same_with_and_without_child_lists(client: CrmClient, crm: FakeCrm, inner: str) -> None:
    crm.answer = lambda _: page(row("1-A", inner))
    alone = client.query_page(Query(LINKED, fields=("Name",)), 0)
    linked = client.query_page(Query(LINKED), 0)
    assert [(r.id, r.values, r.raw) for r in alone.rows] == [(r.id, r.values, r.raw) for r in linked.rows]
    assert alone.quarantined == linked.quarantined


def test_defective_rows_do_not_affect_the_other_rows_of_their_page(client: CrmClient, crm: FakeCrm) -> None:
    twice, deep = row("1-A", "<Name>a</Name><Name>b</Name>"), row("1-B", "<Name><b/></Name>")
    crm.answer = lambda _: page(twice, deep, row("1-C", "<Name>c</Name><Visits>3</Visits>"), row("1-D", "<Odd/>"))
    found = client.query_page(Query(CONTACT, fields=("Name", "Visits")), 0)
    assert [(d.row_id, d.reason) for d in found.quarantined] == [("1-A", "given twice"), ("1-B", "not a plain value")]
    assert [(r.id, r.values) for r in found.rows] == [
        ("1-C", {"Name": "c", "Visits": 3}),
        ("1-D", {"Name": None, "Visits": None}),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("int", "007", 7), ("int", "+7", 7), ("int", "9" * 18, 10**18 - 1), ("int", "9" * 19, None), ("int", "٣", None),
     ("int", "²", None), ("date", "1980-02-29", date(1980, 2, 29)), ("date", "1980-02-29+01:00", date(1980, 2, 29)),
     ("date", "1980-W09-5", None), ("date", "19800229", None), ("date", "1981-02-29", None),
     ("dateTime", "2012-03-01T09:12:40Z", datetime(2012, 3, 1, 9, 12, 40, tzinfo=UTC)),
     ("dateTime", "2012-03-01T09:12:40", datetime(2012, 3, 1, 9, 12, 40, tzinfo=UTC)),
     ("dateTime", "2012-03-01T091240.5Z", None), ("dateTime", "2012-W09-4T09:12:40Z", None),
     ("dateTime", "2012-03-01 09:12:40Z", None), ("dateTime", "2012-02-30T09:12:40Z", None)],
)  # fmt: skip
def test_only_the_formats_of_the_xml_schema_are_accepted_as_values(kind: str, text: str, value: object) -> None:
    convert = CONVERTERS[FieldType(kind)]
    if value is None:
        with pytest.raises(ValueError, match=r"^not a "):
            convert(text)
    else:
        assert convert(text) == value


def test_a_page_with_a_bad_row_is_requested_again_in_case_it_was_damaged_in_transit(
    client: CrmClient, crm: FakeCrm
) -> None:
    crm.say(page(row("1-A", "<Visits>x</Visits>")), page(row("1-A", "<Visits>7</Visits>")))
    found = client.query_page(Query(CONTACT), 0)
    assert ([r.values["Visits"] for r in found.rows], found.quarantined) == ([7], [])
    assert len(crm.asked) == 2


def test_a_row_without_an_id_is_quarantined(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: page("<Contact><Name>x</Name></Contact>", "<Contact><Id/></Contact>", row("1"))
    found = client.query_page(Query(CONTACT), 0)
    assert [d.row_id for d in found.quarantined] == [None, None]
    assert len(found.rows) == 1


def test_namespace_prefixes_element_order_and_boolean_spelling_do_not_matter(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(
        b'<a:Envelope xmlns:a="http://schemas.xmlsoap.org/soap/envelope/" xmlns:z="urn:/crmondemand/xml/Contact/Data">'
        b'<a:Header/><a:Body><x:ContactQueryPage_Output xmlns:x="urn:crmondemand/ws/ecbs/contact/">'
        b'<z:ListOfContact recordcount="7" lastpage="0"><z:Contact><z:Name>n</z:Name><z:Id>1</z:Id></z:Contact>'
        b"</z:ListOfContact></x:ContactQueryPage_Output></a:Body></a:Envelope>"
    )
    found = client.query_page(Query(CONTACT), 0)
    assert (found.last, found.record_count, found.rows[0].values["Name"]) == (False, 7, "n")


def test_a_result_without_rows_is_an_empty_last_page(client: CrmClient, crm: FakeCrm) -> None:
    found = client.query_page(Query(CONTACT), 0)
    assert (found.rows, found.last, found.record_count) == ([], True, None)


DTD = b'<?xml version="1.0"?><!DOCTYPE e [<!ENTITY a "aaaaaaaaaa">%s]>'
GOOD = page(row("1", "<Name>&a;</Name>")).partition(b"?>")[2]
LOL = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"lol") for n in range(10))

DAMAGED = {
    "empty": b"",
    "blank": b"  \n",
    "html": b"<html><body><p>Down<br></body></html>",
    "xhtml": b"<html xmlns='http://www.w3.org/1999/xhtml'><body/></html>",
    "not xml": b"Service temporarily unavailable",
    "json": b'{"a": 1}',
    "no body": b'<a:Envelope xmlns:a="http://schemas.xmlsoap.org/soap/envelope/"/>',
    "no list": envelope('<n:ContactQueryPage_Output xmlns:n="x"/>'),
    "empty body": envelope(""),
    "other object": page().replace(b"ListOfContact", b"ListOfAccount"),
    "no lastpage": page(row("1")).replace(b'lastpage="true"', b""),
    "odd lastpage": page(row("1")).replace(b'"true"', b'"maybe"'),
    "empty page that is not the last": page(last=False),
    "more rows than asked": page(row("1"), row("2"), row("3"), row("4")),
    "stranger among the rows": page("<Account><Id>1</Id></Account>"),
    "record count says more": page(row("1"), attributes='recordcount="9"'),
    "record count is no number": page(row("1"), attributes='recordcount="many"'),
    "trailing bytes": page(row("1")) + b"<x/>",
    "bad utf-8": page(row("1", "<Name>\u00fc</Name>")).replace(b"\xc3\xbc", b"\xfc"),
    "entity": DTD % b"" + GOOD,
    "billion laughs": DTD % LOL + GOOD.replace(b"&a;", b"&l9;"),
    "quadratic": DTD.replace(b"aaaaaaaaaa", b"a" * 100_000) % b"" + GOOD.replace(b"&a;", b"&a;" * 10_000),
    "file entity": DTD % b'<!ENTITY f SYSTEM "file:///etc/passwd">' + GOOD.replace(b"&a;", b"&f;"),
    "external dtd": b'<!DOCTYPE e SYSTEM "http://127.0.0.1:1/x.dtd">' + page(row("1")).partition(b"?>")[2],
    "utf-16 with dtd": (DTD % b"" + GOOD).decode().replace("?>", ' encoding="UTF-16"?>', 1).encode("utf-16"),
    "11 MiB text": page(row("1", f"<Name>{'x' * 11 * 1024**2}</Name>")),
    "3000 nested elements": page(row("1", "<a>" * 3000 + "</a>" * 3000)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_answer_is_requested_again_and_then_raises_an_error(
    client: CrmClient, crm: FakeCrm, pauses: list[float], content: bytes
) -> None:
    crm.answer = lambda _: content
    with pytest.raises(CrmAnswerError):
        client.query_page(Query(CONTACT), 0, page_size=3)
    assert len(crm.asked) == ATTEMPTS[Action.ASK_AGAIN]
    assert client.faults == {"bad answer": len(crm.asked)}


def test_a_damaged_answer_followed_by_a_good_one_costs_only_retries(
    client: CrmClient, crm: FakeCrm, pauses: list[float]
) -> None:
    crm.say(b"<html>", b"", page(row("1")))
    assert len(client.query_page(Query(CONTACT), 0).rows) == 1
    assert [pause for pause in pauses if pause >= 1] == [2.0, 4.0]


def test_a_truncated_answer_is_never_taken_for_a_short_page(
    connect: Connect, crm: FakeCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTEMPTS, Action.ASK_AGAIN, 1)
    client = connect(sessions=1)
    whole = page(*(row(f"1-{n}", "<Name>Müller</Name>") for n in range(40)), last=False)
    for cut in [*range(0, len(whole), 37), *range(len(whole) - 40, len(whole))]:
        crm.say(whole[:cut])
        with pytest.raises(CrmAnswerError):
            client.query_page(Query(CONTACT), 0)


def test_an_answer_shorter_than_its_content_length_or_gzip_stream_is_damaged(client: CrmClient, crm: FakeCrm) -> None:
    whole = page(row("1"), row("2"))
    packed = gzip.compress(whole)
    zipped = {"Content-Type": "text/xml", "Content-Encoding": "gzip"}
    crm.say(
        Said(whole[:-5], headers={"Content-Length": str(len(whole))}),
        Said(packed[: len(packed) // 2], headers=zipped),
        Said(packed, headers=zipped),
    )
    assert len(client.query_page(Query(CONTACT), 0).rows) == 2
    assert client.faults == {"bad answer": 2}


def test_after_broken_gzip_an_uncompressed_answer_is_requested(connect: Connect, crm: FakeCrm) -> None:
    client = connect(sessions=1)
    crm.say(Said(b"no gzip at all", headers={"Content-Encoding": "gzip"}), page(row("1")))
    assert len(client.query_page(Query(CONTACT), 0).rows) == 1
    assert [asked.headers["Accept-Encoding"] for asked in crm.asked] == ["gzip", "identity"]


def test_a_gzip_bomb_is_not_unpacked_beyond_the_size_limit(
    connect: Connect, crm: FakeCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTEMPTS, Action.ASK_AGAIN, 1)
    monkeypatch.setattr("orchestration.crm.transport.MAX_ANSWER_BYTES", 4 * 1024**2)
    bomb = gzip.compress(b"<a>" + b" " * 100 * 1024**2, compresslevel=1)
    client = connect(sessions=1)
    client.query_page(Query(CONTACT), 0)  # so that one-time imports are not measured
    crm.say(Said(bomb, headers={"Content-Type": "text/xml", "Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        with pytest.raises(CrmAnswerError, match="larger than"):
            client.query_page(Query(CONTACT), 0)
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("status", [302, 403, 404, 500, 503])
def test_a_pod_that_is_down_is_retried_slowly_and_then_unavailable(
    client: CrmClient, crm: FakeCrm, pauses: list[float], status: int
) -> None:
    crm.answer = lambda _: Said(b"<html>maintenance</html>", status, {"Location": "http://127.0.0.1:1/"})
    with pytest.raises(CrmUnavailable, match=f"HTTP {status}"):
        client.query_page(Query(CONTACT), 0)
    assert [pause for pause in pauses if pause >= 1] == [2.0, 4.0, 8.0, 16.0]


def test_a_dropped_connection_is_retried(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(Said(b"", drop=True), page(row("1")))
    assert len(client.query_page(Query(CONTACT), 0).rows) == 1
    assert client.faults == {"unavailable": 1}


def test_a_read_timeout_counts_as_too_heavy(connect: Connect, crm: FakeCrm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.crm.transport.READ_TIMEOUT_SECONDS", 0.05)
    hung = threading.Event()
    client = connect()

    def hang(_: object) -> bytes:
        hung.wait(20)
        return page()

    crm.answer = hang
    try:
        with pytest.raises(CrmTooHeavy, match="did not answer"):
            client.query_page(Query(CONTACT), 0)
    finally:
        hung.set()
