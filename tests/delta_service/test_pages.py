"""The routes besides the deltas, and whether the OpenAPI document matches the service."""

from __future__ import annotations

from pathlib import Path

import httpx

from delta_service import pages
from delta_service.query import PARAMETERS
from tests.delta_service import contract
from tests.delta_service.conftest import Running, RunScenario
from tests.delta_service.model import OBJECTS


def test_the_openapi_document_describes_the_service(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        document = (await running.client.get("/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        delta = document["paths"]["/v1/delta"]["get"]
        assert {p["name"] for p in delta["parameters"] if p["in"] == "query"} == PARAMETERS
        assert set(OBJECTS) < set(document["components"]["schemas"]["Delta"]["properties"])
        device = running.device("T-NORTH")
        assert document == contract.DOCUMENT
        for path, item in document["paths"].items():
            if "get" in item and path != "/v1/events":
                assert contract.described("GET", path)
                await device.get(path.replace("{territory}", "T-NORTH"))
        refs = _values(document, "$ref")
        assert all(ref.rpartition("/")[2] in document["components"]["schemas"] for ref in refs)
        operations = _values(document["paths"], "operationId")
        assert len(set(operations)) == len(operations)

    run(scenario)


def _values(node: object, key: str) -> list[str]:
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == key] + [x for v in node.values() for x in _values(v, key)]
    return [x for v in node for x in _values(v, key)] if isinstance(node, list) else []


def test_the_docs_page_loads_nothing_from_other_servers(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        page = (await running.client.get("/docs")).text
        assert "/v1/territories/{territory}/delta" in page
        assert "<script" not in page
        assert "http://" not in page
        assert "https://" not in page

    run(scenario)


def test_metrics_count_answers_by_kind(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        await running.device("T-NORTH").get("north", since=4)
        await running.stranger.get("north")
        text = (await running.client.get("/metrics")).text
        assert 'delta_requests_total{kind="nothing_new"}' in text
        assert 'delta_problems_total{code="unauthorized"}' in text
        assert "delta_published_seq 4.0" in text

    run(scenario)


def test_the_device_page_is_served_from_its_directory(run: RunScenario, tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        (tmp_path / "secret.txt").write_text("not for devices")
        for directory, status in ((tmp_path / "absent", 404), (tmp_path / "page", 200)):
            if status == 200:
                directory.mkdir()
                (directory / "index.html").write_text("the page")
                (directory / "app.js").write_text("the script")
            parts = running.service.authenticator, running.service.watch, running.service.source
            transport = httpx.ASGITransport(pages.router(*parts, directory))
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                assert (await client.get("/device", follow_redirects=True)).status_code == status
                assert (await client.get("/device/app.js")).status_code == status
                assert (await client.get("/device/%2e%2e/secret.txt")).status_code == 404
                missing = await client.get("/device/none.css")
                assert missing.status_code == 404
                assert missing.json()["code"] == "not-found"

    run(scenario)
