"""Faults that pass by themselves, met where nothing smaller can be asked: one never fails a run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestration.crm import CrmClient, CrmTooHeavy, Query
from orchestration.crm.client import MIN_PAGE_SIZE_ROWS
from tests.crm.wire import CONTACT, LINKED, FakeCrm, envelope, manager_fault, page, row

HEAVY = ["SBL-DBC-00112", "SBL-EAI-04376", "SBL-DAT-00407"]
SINCE = datetime(2026, 11, 30, tzinfo=UTC)
TIME = envelope(
    '<ns:TimeWS_GetServerTime_Output xmlns:ns="urn:crmondemand/ws/time/">'
    "<ns:CurrentServerTime>11/30/2026 12:00:00</ns:CurrentServerTime><ns:TimeZone>(GMT) UTC</ns:TimeZone>"
    "</ns:TimeWS_GetServerTime_Output>"
)


def entries(*ids: str) -> bytes:
    rows = "".join(
        f"<DeletedItem><DeletedItemId>D{i}</DeletedItemId><DeletedDate>11/30/2026 11:00:00</DeletedDate>"
        f"<ObjectId>{i}</ObjectId><Type>Contact</Type></DeletedItem>"
        for i in ids
    )
    return envelope(
        '<ns:DeletedItemWS_DeletedItemQueryPage_Output xmlns:ns="urn:crmondemand/ws/deleteditem/">'
        f'<ns:LastPage>true</ns:LastPage><ListOfDeletedItem xmlns="urn:/x/deleteditem">{rows}</ListOfDeletedItem>'
        "</ns:DeletedItemWS_DeletedItemQueryPage_Output>"
    )


@pytest.fixture(params=HEAVY)
def fault(request: pytest.FixtureRequest) -> bytes:
    return manager_fault(str(request.param))


def test_ten_ids_are_asked_for_again_after_a_pause(
    client: CrmClient, crm: FakeCrm, pauses: list[float], fault: bytes
) -> None:
    ids = [f"{number:02}" for number in range(10)]
    crm.say(*[fault] * 4)
    crm.answer = lambda asked: page(*map(row, asked.ids))
    assert [r.id for r in client.read_ids(CONTACT, ids).rows] == ids
    assert sum(pauses) > 1


def test_a_page_of_ten_rows_is_asked_for_again_after_a_pause(
    client: CrmClient, crm: FakeCrm, pauses: list[float], fault: bytes
) -> None:
    crm.say(*[fault] * 8)
    crm.answer = lambda _: page(row("1"))
    assert [r.id for found in client.read(Query(CONTACT)) for r in found.rows] == ["1"]
    assert crm.asked[-1].page_size == MIN_PAGE_SIZE_ROWS
    assert sum(pauses) > 1


def test_the_deleted_items_list_is_read_in_smaller_pages_and_then_again_after_pauses(
    client: CrmClient, crm: FakeCrm, pauses: list[float], fault: bytes
) -> None:
    crm.say(TIME, *[fault] * 6)
    crm.answer = lambda _: entries("1", "2")
    assert [item.object_id for item in client.deleted_items(SINCE)] == ["1", "2"]
    assert sizes(crm)[:5] == [100, 50, 25, 12, 10]
    assert sum(pauses) > 1


def test_a_deleted_items_list_that_stays_too_heavy_is_not_taken_for_empty(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(TIME)
    crm.answer = lambda _: manager_fault("SBL-DBC-00112")
    with pytest.raises(CrmTooHeavy):
        client.deleted_items(SINCE)
    assert len(crm.asked) == 1 + 4 + 5


def test_the_clock_is_asked_for_again_after_a_pause(
    client: CrmClient, crm: FakeCrm, pauses: list[float], fault: bytes
) -> None:
    crm.say(fault, fault, TIME)
    assert client.clock().now == datetime(2026, 11, 30, 12, tzinfo=UTC)
    assert sum(pauses) > 1


def test_the_rest_of_a_child_list_is_asked_for_again_after_a_pause(
    client: CrmClient, crm: FakeCrm, pauses: list[float], fault: bytes
) -> None:
    part = '<ListOfAccount lastpage="{}"><Account><AccountId>A</AccountId></Account></ListOfAccount>'
    crm.say(page(row("1", part.format("false"))), fault, fault, page(row("1", part.format("true"))))
    (found,) = client.query_page(Query(LINKED), 0).rows
    assert found.links == {"ListOfAccount": ("A",)}
    assert sum(pauses) > 1


def sizes(crm: FakeCrm) -> list[int]:
    """Page sizes of the requests for Deleted Items."""
    found = (asked.root.find(".//{*}PageSize") for asked in crm.asked)
    return [int(element.text or 0) for element in found if element is not None]
