"""Answers that are truncated, replaced, malformed or hostile."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import Any

import httpx
import pytest
from lxml import etree

from tests.simulator.conftest import ENDPOINT, Simulator, query_body

BODY = query_body("Account", "<Id/><AccountName/><ModifiedDate/>", pagesize=3)
STRICT = etree.XMLParser(resolve_entities=False, no_network=True)


def spoiled(simulator: Simulator, **order: object) -> httpx.Response:
    simulator.control("faults", **order)
    return simulator.send(BODY)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_a_maintenance_page_can_have_any_status(simulator: Simulator, status: int) -> None:
    page = spoiled(simulator, kind="html", status=status)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html;charset=UTF-8")
    assert page.text.startswith("<!DOCTYPE html>")


def test_a_correct_answer_can_have_a_wrong_content_type(simulator: Simulator) -> None:
    answer = spoiled(simulator, kind="content_type")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.text.count("<Account>") == 3


def test_an_answer_declared_as_gzip_can_be_something_else(simulator: Simulator) -> None:
    with pytest.raises(httpx.DecodingError):
        spoiled(simulator, kind="wrong_gzip")


def test_a_gzip_answer_can_be_truncated(simulator: Simulator) -> None:
    raw = raw_answer(simulator, kind="cut_gzip")
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(raw)


def test_a_gzip_bomb_is_small_in_transit_and_well_formed(simulator: Simulator) -> None:
    raw = raw_answer(simulator, kind="gzip_bomb", megabytes=8)
    unpacked = gzip.decompress(raw)
    assert len(raw) < 50_000
    assert len(unpacked) > 8_000_000
    assert etree.fromstring(unpacked).tag.endswith("Envelope")


@pytest.mark.parametrize(("kind", "entity"), [("xml_entity", "inside"), ("xml_external", "outside")])
def test_xml_can_contain_entities_in_place_of_values(simulator: Simulator, kind: str, entity: str) -> None:
    root = etree.fromstring(spoiled(simulator, kind=kind).content, STRICT)
    doctype: Any = root.getroottree().docinfo.internalDTD
    assert entity in {declared.name for declared in doctype.iterentities()}
    [reference] = [node for node in root.iter() if node.tag is etree.Entity]
    assert reference.text == f"&{entity};"


def test_xml_can_contain_a_billion_laughs_attack(simulator: Simulator) -> None:
    content = spoiled(simulator, kind="xml_bomb").content
    assert content.count(b"<!ENTITY") == 10
    assert content.count(b"&l9;") == 1
    with pytest.raises(etree.XMLSyntaxError, match="amplification"):
        etree.fromstring(content)


def test_the_internal_entity_expands_in_a_careless_parser(simulator: Simulator) -> None:
    content = spoiled(simulator, kind="xml_entity").content
    assert "expanded" in set(etree.fromstring(content, etree.XMLParser(resolve_entities=True)).itertext())


def test_a_text_can_be_huge(simulator: Simulator) -> None:
    assert len(spoiled(simulator, kind="huge_text", megabytes=11).content) > 11_000_000


def test_the_last_page_attribute_can_be_missing(simulator: Simulator) -> None:
    assert b"lastpage" not in spoiled(simulator, kind="no_lastpage").content
    simulator.control("faults", kind="no_lastpage")
    request = (
        '<DeletedItemWS_DeletedItemQueryPage_Input xmlns="urn:crmondemand/ws/deleteditem/"><ListOfDeletedItem>'
        "<DeletedItem><ObjectId/></DeletedItem></ListOfDeletedItem></DeletedItemWS_DeletedItemQueryPage_Input>"
    )
    assert b"LastPage" not in simulator.send(request).content
    assert b"LastPage" in simulator.send(request).content


def test_a_row_can_have_no_id_or_a_value_of_the_wrong_type(simulator: Simulator) -> None:
    text = spoiled(simulator, kind="row_without_id").text
    assert (text.count("<Id>"), text.count("<Account>")) == (2, 3)
    assert spoiled(simulator, kind="bad_value").text.count("<ModifiedDate>soon</ModifiedDate>") == 1
    assert "<AccountName>soon</AccountName>" in spoiled(simulator, kind="bad_value", field="AccountName").text


def test_an_answer_can_pause_halfway(simulator: Simulator) -> None:
    start = time.monotonic()
    assert spoiled(simulator, kind="slow_body", seconds=0.2).text.count("<Account>") == 3
    assert time.monotonic() - start >= 0.2


def raw_answer(simulator: Simulator, **order: object) -> bytes:
    """The answer as it goes over the wire."""
    request = simulator.send(BODY).request.content
    simulator.control("faults", **order)
    with simulator.http.stream("POST", ENDPOINT, content=request) as answer:
        return b"".join(answer.iter_raw())


@pytest.mark.parametrize(("kind", "rows"), [("empty_list", 0), ("half_list", 2)])
def test_a_sound_last_page_can_lack_rows(simulator: Simulator, kind: str, rows: int) -> None:
    root = etree.fromstring(spoiled(simulator, kind=kind).content, STRICT)
    (page,) = root.iter("{*}ListOfAccount")
    assert page.get("lastpage") == "true"
    assert len(page) == rows
