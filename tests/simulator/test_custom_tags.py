"""Company-specific WSDLs: another service namespace, and the company's own names of custom fields."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from crm_simulator.kinds import TAGGED_SUFFIX
from crm_simulator.schema import OBJECTS
from crm_simulator.wsdl import all_wsdls, write_all
from tests.simulator.conftest import Answer, Simulator
from tests.simulator.wsdl_client import wsdl_client

NAMESPACE = f"urn:crmondemand/ws/ecbs/account/{TAGGED_SUFFIX}"


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wsdl")
    write_all(directory, tagged=True)
    return directory


@pytest.mark.processes
def test_the_command_writes_the_company_specific_wsdls(tmp_path: Path) -> None:
    words = ["-m", "crm_simulator", "wsdl", "--out", str(tmp_path), "--custom-tags"]
    subprocess.run([sys.executable, *words], check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == all_wsdls(tagged=True)
    assert set(written) == set(all_wsdls())


def test_custom_tags_replace_the_generic_names(tagged: Path) -> None:
    text = (tagged / "Account.wsdl").read_text()
    assert f'targetNamespace="{NAMESPACE}"' in text
    assert 'name="plSegment"' in text
    assert 'name="CustomPickList0"' not in text
    assert 'name="CustomText1"' in text, "a field without a tag keeps its name"
    assert "urn:/crmondemand/xml/Account/Query" in text


def query(simulator: Simulator, directory: Path, fields: dict[str, str], spec: str) -> Answer:
    client = wsdl_client(directory / "Account.wsdl")
    rows = {"pagesize": 100, "startrownum": 0, "recordcountneeded": False, "Account": {"searchspec": spec, **fields}}
    message = client.create_message(client.service, "AccountQueryPage", ListOfAccount=rows)
    body = message.find("{*}Body")[0]
    action = client.wsdl.bindings[f"{{{etree.QName(body).namespace}}}Account"].get("AccountQueryPage").soapaction
    return Answer(simulator.send(etree.tostring(body).decode(), action))


def test_the_answer_uses_the_field_names_of_the_request(simulator: Simulator, tagged: Path) -> None:
    account = simulator.records("Account")[0]["Id"]
    custom = {"CustomPickList0": "Gold", "CustomBoolean0": True, "CustomText1": "plain"}
    simulator.control("update", object="Account", id=account, fields=custom)
    fields = {"Id": "", "plSegment": "", "bKeyCustomer": "", "CustomText1": ""}
    answer = query(simulator, tagged, fields, "[plSegment] = 'Gold'")
    assert answer.rows == [{"Id": account, "plSegment": "Gold", "bKeyCustomer": "true", "CustomText1": "plain"}]
    assert etree.QName(answer.root[0][0]).namespace == NAMESPACE
    generic = simulator.query("Account", "<Id/><CustomPickList0/>", "[CustomPickList0] = 'Gold'")
    assert generic.rows == [{"Id": account, "CustomPickList0": "Gold"}]
    assert etree.QName(generic.root[0][0]).namespace == OBJECTS["Account"].service_namespace


def test_generic_names_and_custom_tags_are_not_accepted_in_each_others_namespace(simulator: Simulator) -> None:
    assert "SBL-EAI-04127" in simulator.query("Account", "<plSegment/>").fault
    request = "<ListOfAccount><Account><CustomPickList0/></Account></ListOfAccount>"
    answer = Answer(simulator.send(f'<AccountQueryPage_Input xmlns="{NAMESPACE}">{request}</AccountQueryPage_Input>'))
    assert "SBL-EAI-04127" in answer.fault


def test_writes_accept_custom_tags(simulator: Simulator) -> None:
    rows = (
        "<ListOfAccount><Account><AccountName>New</AccountName><plSegment>Silver</plSegment></Account></ListOfAccount>"
    )
    answer = Answer(simulator.send(f'<AccountInsert_Input xmlns="{NAMESPACE}">{rows}</AccountInsert_Input>'))
    account = simulator.record("Account", answer.ids[0])
    assert account["CustomPickList0"] == "Silver"
