from __future__ import annotations

import gzip

import pytest
from lxml import etree

from tests.simulator.conftest import ENDPOINT, TOKEN, Answer, Simulator, make_simulator, query_body

ACCOUNT_ACTION = "document/urn:crmondemand/ws/ecbs/account/:AccountQueryPage"
BY_ID = '<Id sortorder="ASC" sortsequence="1"/>'


def test_a_page_has_ten_rows_unless_asked_otherwise(simulator: Simulator) -> None:
    assert len(simulator.query("Account").rows) == 10
    assert len(simulator.query("Account", pagesize=37).rows) == 37


def test_more_than_a_hundred_rows_a_page_are_refused(simulator: Simulator) -> None:
    answer = simulator.query("Account", pagesize=101)
    assert answer.response.status_code == 500
    assert "(SBL-EAI-04447)" in answer.fault


def test_sorted_pages_return_every_row_once_and_only_the_last_page_is_marked_last(simulator: Simulator) -> None:
    pages = [simulator.query("Account", BY_ID, pagesize=25, startrownum=start) for start in (0, 25, 50)]
    ids = [id_ for page in pages for id_ in page.ids]
    assert ids == sorted(row["Id"] for row in simulator.records("Account"))
    assert [page.rows_element.get("lastpage") for page in pages] == ["false", "false", "true"]


def test_unsorted_rows_have_another_order_in_each_request(simulator: Simulator) -> None:
    first, second = (simulator.query("Account", pagesize=100).ids for _ in range(2))
    assert sorted(first) == sorted(second)
    assert first != second


def test_rows_are_sorted_by_type_and_sort_sequence(simulator: Simulator) -> None:
    fields = '<Id/><Revenue sortorder="DESC" sortsequence="2"/><Status sortorder="ASC" sortsequence="1"/>'
    rows = simulator.query("Opportunity", fields, pagesize=100).rows
    keys = [(row["Status"], -float(row["Revenue"] or 0)) for row in rows]
    assert keys == sorted(keys)


def test_the_answer_has_the_envelope_of_the_real_one(simulator: Simulator) -> None:
    text = simulator.query("Account", pagesize=1).response.text
    assert "<SOAP-ENV:Envelope xmlns:SOAP-ENV=" in text
    assert '<ns:AccountQueryPage_Output xmlns:ns="urn:crmondemand/ws/ecbs/account/">' in text
    assert '<ListOfAccount xmlns="urn:/crmondemand/xml/Account/Data" lastpage="false">' in text


def test_only_requested_fields_are_returned_and_only_text_fields_when_blank(simulator: Simulator) -> None:
    id_ = simulator.records("Activity")[0]["Id"]
    simulator.control("update", object="Activity", id=id_, fields={"Subject": None, "DueDate": None, "StartTime": None})
    fields = "<Subject/><DueDate/><StartTime/><Id/>"
    assert simulator.query("Activity", fields, f"[Id] = '{id_}'").rows == [{"Id": id_, "Subject": ""}]


def test_special_characters_are_preserved(simulator: Simulator) -> None:
    name = "Ärzte <&> \"Söhne\" ]]> \u2028 'quoted'\r\nline"
    id_ = simulator.control("insert", object="Account", fields={"AccountName": name})["touched"]["Account"][0]
    assert simulator.query("Account", "<AccountName/>", f"[Id] = '{id_}'").rows == [{"AccountName": name}]


def test_the_row_count_is_returned_only_on_request(simulator: Simulator) -> None:
    assert simulator.query("Account").rows_element.get("recordcount") is None
    assert simulator.query("Account", recordcountneeded="true").rows_element.get("recordcount") == "60"


def test_activities_cannot_be_counted(simulator: Simulator) -> None:
    fault = simulator.query("Activity", recordcountneeded="true").fault
    assert "SBL-DAT-00407" in fault
    assert "SBL-EAI-04376" in fault


def test_an_empty_result_is_an_empty_list_on_the_last_page(simulator: Simulator) -> None:
    answer = simulator.query("Account", spec="[AccountName] = 'nobody'")
    assert answer.rows == []
    assert answer.rows_element.get("lastpage") == "true"


def test_many_ids_can_be_queried_at_once(simulator: Simulator) -> None:
    wanted = [row["Id"] for row in simulator.records("Contact")][:50]
    spec = " OR ".join(f"([Id] = '{id_}')" for id_ in [*wanted, "1QA2-XXXXX"])
    assert simulator.query("Contact", BY_ID, spec, pagesize=100).ids == wanted


def test_every_index_finds_the_same_rows_as_a_scan(simulator: Simulator) -> None:
    rows = simulator.records("Contact")
    account, middle = rows[0]["AccountId"], sorted(row["ModifiedDate"] for row in rows)[len(rows) // 2]
    for spec, expected in (
        (f"[AccountId] = '{account}'", [r for r in rows if r["AccountId"] == account]),
        (f"[ModifiedDate] >= '{middle}'", [r for r in rows if r["ModifiedDate"] >= middle]),
        (f"[ModifiedDate] < '{middle}'", [r for r in rows if r["ModifiedDate"] < middle]),
        (
            f"([ModifiedDate] > '{middle}') AND ([ContactType] = 'Nurse')",
            [r for r in rows if r["ModifiedDate"] > middle and r["ContactType"] == "Nurse"],
        ),
        (f"([ModifiedDate] > '{middle}') AND ([ModifiedDate] < '{middle}')", []),
    ):
        found = simulator.find_all("Contact", BY_ID, spec)
        assert [row["Id"] for row in found] == [row["Id"] for row in expected], spec


def test_field_criteria_and_the_search_specification_must_both_match(simulator: Simulator) -> None:
    fields = "<Id/><Status>='Active'</Status>"
    rows = simulator.find_all("Account", fields, "[AccountType] = 'Practice'")
    expected = [r for r in simulator.records("Account") if r["Status"] == "Active" and r["AccountType"] == "Practice"]
    assert len(rows) == len(expected) > 0


def test_each_page_runs_the_query_again(simulator: Simulator) -> None:
    first = simulator.query("Account", BY_ID, pagesize=30).ids
    simulator.control("delete", object="Account", id=first[0])
    second = simulator.query("Account", BY_ID, pagesize=30, startrownum=30).ids
    assert len(second) == 29  # one row has moved to the page already read


def test_joined_fields_follow_the_record_they_are_joined_from(simulator: Simulator) -> None:
    opportunity = simulator.records("Opportunity")[0]
    target = simulator.records("Territory")[-1]
    simulator.control("realign", accounts=[opportunity["AccountId"]], to=target["Id"])
    fields = "<AccountTerritory/><AccountTerritoryId/><ModId/>"
    row = simulator.query("Opportunity", fields, f"[Id] = '{opportunity['Id']}'").rows[0]
    assert row == {
        "AccountTerritory": target["TerritoryName"],
        "AccountTerritoryId": target["Id"],
        "ModId": opportunity["ModId"],
    }


def test_an_unknown_element_is_refused_with_its_name(simulator: Simulator) -> None:
    fault = simulator.query("Account", "<Id/><Nonsense/>").fault
    assert all(part in fault for part in ("SBL-EAI-04316", "SBL-EAI-04127", "Nonsense"))
    child = "<Id/><ListOfAccount><Account><Id/><Owner/></Account></ListOfAccount>"
    assert "SBL-EAI-04127" in simulator.query("Contact", child).fault


def test_an_invalid_search_specification_is_an_object_manager_fault(simulator: Simulator) -> None:
    assert "SBL-EAI-04376" in simulator.query("Account", spec="[Status] LIKES 'x'").fault


def test_unknown_books_are_refused(simulator: Simulator) -> None:
    body = query_body("Account").replace("</AccountQueryPage_Input>", "<BookId>1-A</BookId></AccountQueryPage_Input>")
    assert "SBL-EAI-04471" in Answer(simulator.send(body)).fault


def test_child_lists_have_their_own_pages_of_ten_rows_by_default(simulator: Simulator) -> None:
    contact = simulator.records("Contact")[0]
    accounts = [row["Id"] for row in simulator.records("Account") if row["Id"] not in contact["accounts"]]
    for account in accounts[:11]:
        simulator.control("link", contact=contact["Id"], account=account)
    linked = len(contact["accounts"]) + 11

    def links(attributes: str) -> etree._Element:
        order = '<AccountId sortorder="ASC" sortsequence="1"/>'
        child = f"<ListOfAccount {attributes}><Account>{order}<PrimaryAccount/></Account></ListOfAccount>"
        return simulator.query("Contact", f"<Id/>{child}", f"[Id] = '{contact['Id']}'").rows_element[0][1]

    first, rest = links(""), links('startrownum="10" pagesize="100"')
    assert (len(first), first.get("lastpage"), len(rest), rest.get("lastpage")) == (10, "false", linked - 10, "true")
    ids = [row[0].text for page in (first, rest) for row in page]
    assert ids == simulator.record("Contact", contact["Id"])["accounts"]
    assert [row[1].text for page in (first, rest) for row in page].count("true") == 1


def test_a_search_specification_of_a_child_does_not_filter_parents(simulator: Simulator) -> None:
    child = "<ListOfAccount><Account searchspec=\"[AccountId] = 'none'\"><Id/></Account></ListOfAccount>"
    answer = simulator.query("Contact", f"<Id/>{child}", pagesize=5)
    assert [len(row[1]) for row in answer.rows_element] == [0] * 5


def test_a_query_costs_one_operation_and_with_a_child_list_one_more_per_row(simulator: Simulator) -> None:
    before = simulator.operations_spent()
    simulator.query("Contact", pagesize=20)
    assert simulator.operations_spent() == before + 1
    simulator.query("Contact", "<ListOfAccount><Account><Id/></Account></ListOfAccount>", pagesize=20)
    assert simulator.operations_spent() == before + 1 + 21


def test_namespaces_and_a_missing_soap_action_do_not_matter(simulator: Simulator) -> None:
    body = query_body("Account").replace(' xmlns="urn:/crmondemand/xml/Account/Query"', "")
    assert len(Answer(simulator.send(body, ACCOUNT_ACTION)).rows) == 10
    assert len(Answer(simulator.send(body)).rows) == 10


def test_a_soap_action_that_contradicts_the_body_is_refused(simulator: Simulator) -> None:
    body = query_body("Contact")
    assert "SBL-ODU-01008" in Answer(simulator.send(body, ACCOUNT_ACTION)).fault


def test_any_path_below_the_endpoint_is_served(simulator: Simulator) -> None:
    envelope = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>'
        + TOKEN.format(password="simulator-only")
        + f"</s:Header><s:Body>{query_body('Account')}</s:Body></s:Envelope>"
    )
    for suffix in ("/Account", ";jsessionid=abc"):
        assert simulator.http.post(ENDPOINT + suffix, content=envelope).status_code == 200


def test_answers_are_compressed_on_request() -> None:
    simulator = make_simulator()
    with simulator.http.stream(
        "POST",
        ENDPOINT,
        content='<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><x/></s:Body></s:Envelope>',
        headers={"Accept-Encoding": "gzip"},
    ) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert b"Fault" in gzip.decompress(raw)


@pytest.mark.parametrize(
    "envelope",
    [
        b"not xml",
        b'<!DOCTYPE e [<!ENTITY x "y">]><e>&x;</e>',
        b'<!DOCTYPE e SYSTEM "file:///etc/passwd"><e/>',
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"/>',
    ],
)
def test_malformed_and_hostile_requests_are_refused(simulator: Simulator, envelope: bytes) -> None:
    response = simulator.http.post(ENDPOINT, content=envelope)
    assert "SBL-ODU-01008" in Answer(response).fault
    assert "root:" not in response.text


def test_deleted_items_and_server_time_use_the_older_format(simulator: Simulator) -> None:
    time = Answer(simulator.send('<TimeWS_GetServerTime_Input xmlns="urn:crmondemand/ws/time/"/>')).root
    assert time.findtext(".//{*}CurrentServerTime") == "05/28/2026 20:26:40"
    assert (time.findtext(".//{*}TimeZone") or "").startswith("(GMT)")
    activity = simulator.records("Activity")[0]
    account = next(row for row in simulator.records("Account") if row["Id"] != activity["AccountId"])
    simulator.control("delete", object="Activity", id=activity["Id"])
    simulator.control("clock", advance_seconds=10)
    simulator.control("delete", object="Account", id=account["Id"])

    def listed(criterion: str, paging: str = "") -> etree._Element:
        row = f"<DeletedItem><DeletedDate>{criterion}</DeletedDate><ObjectId/><Type/><Name/></DeletedItem>"
        return Answer(
            simulator.send(
                '<DeletedItemWS_DeletedItemQueryPage_Input xmlns="urn:crmondemand/ws/deleteditem/">'
                f"{paging}<ListOfDeletedItem>{row}</ListOfDeletedItem></DeletedItemWS_DeletedItemQueryPage_Input>"
            )
        ).root

    kind = f"Action***{activity['Activity']}"
    assert [e.text for e in listed("").iter("{*}Type")] == [kind, "Account"]
    later = listed("&gt; '05/28/2026 20:26:40'")
    assert [e.text for e in later.iter("{*}ObjectId")] == [account["Id"]]
    assert [e.text for e in later.iter("{*}DeletedDate")] == ["05/28/2026 20:26:50"]
    page = listed("", "<PageSize>1</PageSize>")
    assert page.findtext(".//{*}LastPage") == "false"
    assert len(list(page.iter("{*}DeletedItem"))) == 1
