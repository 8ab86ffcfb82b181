"""The requests that the client sends."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from lxml import etree

from orchestration.crm import ConfigurationError, CrmClient, LogShape, Query, any_of, modified
from tests.crm.wire import CONTACT, LINKED, FakeCrm, page, settings, v2_wsdl, write_wsdls


def attributes(element: etree._Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.items()}


def test_a_query_has_its_fields_and_paging_in_the_namespaces_of_the_wsdl(client: CrmClient, crm: FakeCrm) -> None:
    client.query_page(Query(LINKED, "[Name] = 'A & \"B\"'"), start_row=200, page_size=50, count=True)
    asked = crm.asked[0]
    assert asked.headers["SOAPAction"] == '"document/urn:crmondemand/ws/ecbs/contact/:ContactQueryPage"'
    assert asked.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert asked.headers["Accept-Encoding"] == "gzip"
    rows = asked.rows()
    assert rows.tag == "{urn:/crmondemand/xml/Contact/Query}ListOfContact"
    assert attributes(rows) == {"pagesize": "50", "startrownum": "200", "recordcountneeded": "true"}
    (contact,) = rows
    assert contact.get("searchspec") == "[Name] = 'A & \"B\"'"
    assert [child.tag.partition("}")[2] for child in contact] == ["Id", "Name", "ListOfAccount"]
    assert attributes(contact[0]) == {"sortorder": "ASC", "sortsequence": "1"}
    assert attributes(contact[2]) == {"pagesize": "100", "startrownum": "0"}
    assert [child.tag.partition("}")[2] for child in contact[2][0]] == ["AccountId"]
    assert [element.text for element in rows.itersiblings()] == ["LIC", "Broadest"]


def test_every_request_and_retry_carries_one_username_token(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(b"damaged", page())
    for _ in range(2):
        client.query_page(Query(CONTACT), 0)
    assert len(crm.asked) == 3
    for asked in crm.asked:
        (name,) = asked.root.iter("{*}Username")
        (password,) = asked.root.iter("{*}Password")
        assert (name.text, password.text) == ("ACME/reader", "s3cret'<&")
        assert password.get("Type", "").endswith("#PasswordText")
        assert name.tag.startswith("{http://docs.oasis-open.org/wss/2004/01/")


def test_requests_built_from_one_template_do_not_affect_each_other(client: CrmClient, crm: FakeCrm) -> None:
    client.query_page(Query(CONTACT, "[Id] = 'a'", "ModifiedDate", sort_descending=True, view_mode="Manager"), 5)
    client.query_page(Query(CONTACT), 0)
    first, second = (asked.rows()[0] for asked in crm.asked)
    sorted_fields = [
        [child.tag.partition("}")[2] for child in row if child.get("sortorder")] for row in (first, second)
    ]
    assert sorted_fields == [["ModifiedDate"], ["Id"]]
    assert next(first.iter("{*}ModifiedDate")).get("sortorder") == "DESC"
    assert second.get("searchspec") is None


def test_a_query_for_one_field_requests_no_links(client: CrmClient, crm: FakeCrm) -> None:
    client.query_page(Query(LINKED, fields=("Id",)), 0, page_size=1)
    assert [child.tag.partition("}")[2] for child in crm.asked[0].rows()[0]] == ["Id"]


def test_a_field_missing_in_the_wsdl_is_named_in_a_configuration_error(client: CrmClient, crm: FakeCrm) -> None:
    shape = LogShape("contact", "Contact", {**CONTACT.fields, "CustomText0": CONTACT.fields["Name"]})
    with pytest.raises(ConfigurationError, match="CustomText0"):
        client.query_page(Query(shape), 0)
    with pytest.raises(ConfigurationError, match="CustomText0"):
        client.check(shape)
    client.check(CONTACT)
    assert crm.asked == []


def test_a_service_without_a_wsdl_is_named_in_a_configuration_error(client: CrmClient) -> None:
    with pytest.raises(ConfigurationError, match="OrderQueryPage_Input"):
        client.query_page(Query(LogShape("order", "Order", {})), 0)


def test_a_company_specific_wsdl_is_used_with_its_own_namespace(crm: FakeCrm, tmp_path: Path) -> None:
    (tmp_path / "contact.wsdl").write_text(v2_wsdl("Contact", {"Id": "string", "plGrade": "string"}, {}, "10/2004"))
    shape = LogShape("contact", "Contact", {"plGrade": CONTACT.fields["Name"]})
    crm.say(page("<Contact><Id>1</Id><plGrade>A</plGrade></Contact>"))
    with CrmClient(settings(crm, tmp_path), sleep=lambda _: None) as client:
        assert client.query_page(Query(shape), 0).rows[0].values == {"plGrade": "A"}
    assert crm.asked[0].headers["SOAPAction"].endswith('contact/10/2004:ContactQueryPage"')


def test_two_wsdls_for_one_service_are_refused(crm: FakeCrm, tmp_path: Path) -> None:
    write_wsdls(tmp_path)
    (tmp_path / "other.wsdl").write_text((tmp_path / "anything.wsdl").read_text())
    with CrmClient(settings(crm, tmp_path)) as client, pytest.raises(ConfigurationError, match="also declared"):
        client.query_page(Query(CONTACT), 0)


def test_a_single_term_has_no_parentheses_and_quotes_are_doubled() -> None:
    assert any_of("Id", ["O'Neil"]) == "[Id] = 'O''Neil'"
    assert any_of("Id", ["a", "b"]) == "([Id] = 'a') OR ([Id] = 'b')"


def test_a_time_range_includes_its_start_and_excludes_its_end() -> None:
    noon = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert modified(noon) == "[ModifiedDate] >= '2026-05-01T12:00:00Z'"
    assert modified(noon, noon + timedelta(seconds=1)) == (
        "([ModifiedDate] >= '2026-05-01T12:00:00Z') AND ([ModifiedDate] < '2026-05-01T12:00:01Z')"
    )
    with pytest.raises(ValueError, match="zone"):
        modified(noon.replace(tzinfo=None))
