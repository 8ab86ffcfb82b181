"""A row of the catalog with something that cannot be understood comes without that, and is reported."""

from __future__ import annotations

from datetime import date

from lxml import etree

from orchestration.catalog import load_catalog
from orchestration.crm import Query
from orchestration.crm.rows import Page, read_answer

CATALOG = load_catalog()


def read(service: str, *rows: str) -> Page:
    text = (
        '<E xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>'
        f'<{service}QueryPage_Output xmlns="urn:x"><ListOf{service} xmlns="urn:y" lastpage="true">'
        f"{''.join(f'<{service}>{inner}</{service}>' for inner in rows)}"
        f"</ListOf{service}></{service}QueryPage_Output></Body></E>"
    )
    return read_answer(etree.fromstring(text), Query(CATALOG[service.lower()]), 0, 100).page


def test_a_row_with_one_bad_value_has_all_others() -> None:
    page = read(
        "Opportunity",
        "<Id>O</Id><AccountId>A</AccountId><CloseDate>soon</CloseDate>",
        "<Id>P</Id><AccountId>A</AccountId><CloseDate>2026-12-01</CloseDate>",
    )
    first, second = page.rows
    assert (first.values["AccountId"], first.values["CloseDate"]) == ("A", None)
    assert first.unreadable == frozenset({"CloseDate"})
    assert (second.values["CloseDate"], second.unreadable) == (date(2026, 12, 1), frozenset())
    assert [(d.row_id, d.field) for d in page.quarantined] == [("O", "CloseDate")]


def test_all_that_is_bad_in_a_row_is_reported() -> None:
    page = read("Opportunity", "<Id>O</Id><AccountId>A</AccountId><AccountId>B</AccountId><CloseDate>soon</CloseDate>")
    assert page.rows[0].values["AccountId"] is None
    assert page.rows[0].unreadable == {"AccountId", "CloseDate"}
    assert [d.field for d in page.quarantined] == ["AccountId", "CloseDate"]


def test_a_list_with_a_link_that_names_no_parent_is_unreadable_as_a_whole() -> None:
    links = "<ListOfAccount><Account><AccountId>A</AccountId></Account><Account/></ListOfAccount>"
    page = read("Contact", f"<Id>C</Id><AccountId>A</AccountId>{links}")
    assert page.rows[0].links == {"ListOfAccount": ()}
    assert page.rows[0].unreadable == {"ListOfAccount"}
    assert [d.field for d in page.quarantined] == ["ListOfAccount.AccountId"]


def test_without_its_id_a_row_is_put_aside_whole() -> None:
    page = read("Opportunity", "<AccountId>A</AccountId>", "<Id>O</Id><Id>P</Id>")
    assert page.rows == []
    assert [d.field for d in page.quarantined] == ["Id", "Id"]
