from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import orchestration
from crm_simulator.schema import OBJECTS
from crm_simulator.wsdl import all_wsdls
from tests.simulator.wsdl_client import wsdl_client

SHIPPED = Path(orchestration.__file__).parent / "crm" / "wsdl"
CATALOG = Path(orchestration.__file__).parent / "objects.yaml"
V2_SERVICES = [kind.name for kind in OBJECTS.values() if kind.top_level]


def test_the_shipped_wsdls_equal_the_generated_ones() -> None:
    shipped = {path.name: path.read_bytes() for path in SHIPPED.glob("*.wsdl")}
    assert shipped == all_wsdls(), "write them anew: python -m crm_simulator wsdl --out orchestration/crm/wsdl"


@pytest.mark.parametrize("service", V2_SERVICES)
def test_zeep_builds_a_query_from_the_wsdl(service: str) -> None:
    client = wsdl_client(SHIPPED / f"{service}.wsdl")
    row = {"searchspec": "[Id] = 'x'", "Id": {"_value_1": "", "sortorder": "ASC", "sortsequence": "1"}, "ModId": ""}
    rows = {"pagesize": 100, "startrownum": 0, "recordcountneeded": False, service: row}
    envelope = client.create_message(
        client.service, f"{service}QueryPage", **{f"ListOf{service}": rows, "ViewMode": "Broadest"}
    )
    kind = OBJECTS[service]
    listed = envelope.find(f".//{{{kind.service_namespace}}}{service}QueryPage_Input")[0]
    assert listed.tag == f"{{{kind.query_namespace}}}ListOf{service}"
    assert listed.get("pagesize") == "100"
    assert listed[0].get("searchspec") == "[Id] = 'x'"
    assert listed[0][0].get("sortorder") == "ASC"


@pytest.mark.parametrize("name", ["DeletedItem", "Time"])
def test_zeep_loads_the_older_services(name: str) -> None:
    client = wsdl_client(SHIPPED / f"{name}.wsdl")
    [binding] = client.wsdl.bindings.values()
    assert str(binding.name).endswith("}Default_Binding")


def test_every_field_of_the_catalog_exists_with_its_type() -> None:
    for entry in yaml.safe_load(CATALOG.read_text(encoding="utf-8"))["objects"].values():
        kind = OBJECTS[entry["service"]]
        assert {name: kind.by_name[name].type for name in entry["fields"]} == entry["fields"]
        assert kind.tracked == entry["tracked"]
