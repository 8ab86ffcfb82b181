"""Sentences of the contract that no other module tests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import jwt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from delta_service import problems
from delta_service.auth import mint
from orchestration.catalog import FieldType, load_catalog
from orchestration.pipeline.views import body_expression
from tests.delta_service.conftest import C1, SECRET, WORLDS, Running, RunScenario, service_of, world
from tests.delta_service.model import OBJECTS, body_of, published_at, version_of
from tests.delta_service.problems import assert_problem

MANY = [("contact", f"C{number}") for number in range(5_001)]
HEADER_OF = {
    "cursor": "sync-cursor", "complete": "sync-complete", "exact": "sync-exact", "asOf": "sync-as-of",
    "published": "sync-published", "nextExpected": "sync-next-expected", "counts": "sync-counts",
    "digest": "sync-digest", "mode": "sync-mode", "next": "link",
}  # fmt: skip
NDJSON = {"Accept": "application/x-ndjson"}

# For each type: the column in the warehouse, a value there, and the JSON that devices get.
WRITTEN = {
    FieldType.STRING: ("VARCHAR", "'Käthe \"K.\" / O''Neil\n'", '"Käthe \\"K.\\" / O\'Neil\\n"'),
    FieldType.BOOLEAN: ("BOOLEAN", "true", "true"),
    FieldType.INT: ("BIGINT", "42", "42"),
    FieldType.DECIMAL: ("VARCHAR", "'1200.50'", "1200.50"),
    FieldType.DATE: ("DATE", "DATE '2026-11-24'", '"2026-11-24"'),
    FieldType.DATE_TIME: ("TIMESTAMP", "TIMESTAMP '2026-11-24 05:58:12'", '"2026-11-24T05:58:12Z"'),
}


def link_of(answer: httpx.Response) -> str:
    found = re.fullmatch(r'<(/v1/.*)>; rel="next"', answer.headers["link"])
    assert found is not None
    return found[1]


def test_a_page_has_5000_rows_unless_another_limit_is_given(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        await running.publish([*WORLDS, world(dict.fromkeys(MANY, 1), {"T-NORTH": MANY})])
        device = running.device("T-NORTH")
        first = await device.get("north")
        assert len(first.json()["contact"]["insert"]) == 5_000
        second = await device.get(link_of(first))
        assert len(second.json()["contact"]["insert"]) == 1
        assert first.headers["sync-mode"] == second.headers["sync-mode"] == "replace"
        whole = await device.get("north", limit=50_000)
        assert (len(whole.json()["contact"]["insert"]), whole.headers["sync-complete"]) == (5_001, "true")

    run(scenario)


def test_a_preference_to_wait_longer_than_a_minute_is_shortened_to_a_minute(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.device("T-NORTH").get("north", {"Prefer": "respond-async, wait=600"}, since=1)
        assert answer.headers["preference-applied"] == "wait=60"

    run(scenario)


def test_every_route_rejects_an_unknown_parameter(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", admin=True)
        for scope in ("/v1", "/v1/territories/T-NORTH"):
            for route in ("delta", "digest"):
                assert_problem(await device.get(f"{scope}/{route}?sinc=4"), 400, "parameter-unknown")
            assert_problem(await device.post(f"{scope}/reconcile?sinc=4", {}), 400, "parameter-unknown")
        for path in ("/v1/events", "/v1/territories", "/v1/explain"):
            assert_problem(await device.get(f"{path}?sinc=4"), 400, "parameter-unknown")

    run(scenario)


def test_metrics_have_the_prometheus_format(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        families = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"delta_requests", "delta_published_seq", "delta_waiting"} <= families

    run(scenario)


def test_only_the_device_may_cache_an_answer_and_vary_names_what_it_depends_on(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        for headers in ({}, NDJSON):
            for question in ({}, {"since": 1}, {"since": 4}):
                answer = await device.get("north", headers, **question)
                again = await device.get("north", headers | {"If-None-Match": answer.headers["etag"]}, **question)
                assert (again.status_code, again.content) == (304, b"")
                for one in (answer, again):
                    assert one.headers["cache-control"].startswith("private")
                    assert {"authorization", "accept", "accept-encoding"} <= set(one.headers["vary"].split(", "))
                assert again.headers["etag"] == answer.headers["etag"]

    run(scenario)


@pytest.mark.parametrize(
    "question", [{"limit": 1}, {"since": 1, "limit": 1}, {"since": 4}, {"since": published_at(1).isoformat()}]
)
def test_the_envelope_says_exactly_what_the_headers_say(run: RunScenario, question: dict[str, object]) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        answer = await device.get("north", envelope="true", **question)
        while True:
            sync = answer.json()["_sync"]
            for name, header in HEADER_OF.items():
                value = sync.get(name)
                if name in ("counts", "digest"):
                    value = ", ".join(f"{key}={number}" for key, number in value.items())
                if name == "next" and value is not None:
                    value = f'<{value}>; rel="next"'
                text = json.dumps(value) if isinstance(value, bool | int) else value
                assert text == answer.headers.get(header), name
            assert set(sync) <= set(HEADER_OF)
            if "link" not in answer.headers:
                return
            answer = await device.get(link_of(answer))

    run(scenario)


def test_a_stream_has_versions_reasons_and_the_digest_of_the_view(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        await running.publish([*WORLDS, world({C1: 2}, {"T-NORTH": [C1]})])
        answer = await device.get("north", NDJSON, since=1, versions="true", reasons="true")
        *operations, last = [json.loads(line) for line in answer.text.splitlines()]
        assert [(line["op"], line.get("rowId"), line.get("reason"), line.get("into")) for line in operations] == [
            ("deleted", "A1", "deleted", None),
            ("deleted", "A2", "merged", "A1"),
            ("deleted", "A3", "deleted", None),
            ("insert", None, None, None),
        ]
        assert operations[-1]["row"]["_v"] == f"{version_of(body_of(C1, 2)):016x}"
        plain = await device.get("north", since=1)
        digest = ", ".join(f"{name}={value}" for name, value in last["trailer"]["digest"].items())
        assert digest == plain.headers["sync-digest"]
        assert last["trailer"]["cursor"] == plain.headers["sync-cursor"]

    run(scenario)


def test_a_stream_that_fails_midway_ends_with_a_problem_instead_of_a_trailer(
    run: RunScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        source = running.service.source
        whole = source.lines

        async def broken(*asked: Any) -> AsyncIterator[Any]:
            async for piece in whole(*asked):
                yield piece
                raise problems.store_unavailable()

        monkeypatch.setattr(source, "lines", broken)
        answer = await running.device("T-NORTH").get("north", NDJSON)
        *operations, last = [json.loads(line) for line in answer.text.splitlines()]
        assert operations
        assert last["problem"]["code"] == "store-unavailable"
        assert "trailer" not in answer.text

    run(scenario)


def test_any_replica_accepts_pages_and_cursors_issued_by_another(run: RunScenario, tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        first = await device.get("north", since=1, limit=1)
        cursor = await device.cursor()
        async with service_of(tmp_path, None, store_url=running.service.settings.store_url) as replica:
            there = replica.device("T-NORTH")
            assert (await there.get(link_of(first))).content == (await device.get(link_of(first))).content
            assert (await there.get("north", since=cursor)).headers["sync-cursor"] == cursor

    run(scenario)


def test_cursors_need_no_url_encoding_and_numbers_are_below_2_to_the_53(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", "T-SOUTH")
        cursor = await device.cursor("/v1/delta")
        assert re.fullmatch(r"[A-Za-z0-9._~-]+", cursor)
        assert re.fullmatch(r"[A-Za-z0-9._~-]+", link_of(await device.get("/v1/delta", limit=1)).partition("=")[2])
        assert_problem(await device.get(f"/v1/delta?since={2**53 - 2}"), 409, "cursor-ahead")
        assert_problem(await device.get(f"/v1/delta?since={2**53}"), 400, "cursor-malformed")

    run(scenario)


def test_retry_after_times_differ_between_callers() -> None:
    seconds = {int(problems.rate_limited("Wait.").headers["Retry-After"]) for _ in range(200)}
    assert len(seconds) > 3
    assert min(seconds) > 0


def test_a_development_token_names_its_territories_and_expires_after_its_days() -> None:
    token = mint(SECRET, "territory-delta", ["North"], days=30, admin=False, subject="somebody")
    claims = jwt.decode(token, SECRET, ["HS256"], audience="territory-delta")
    assert claims["territories"] == ["North"]
    assert 0 <= time.time() + 30 * 86_400 - claims["exp"] < 60
    assert not claims.get("admin")


def test_every_object_is_present_with_parents_first_whatever_has_changed(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        for question in ({}, {"since": 1}, {"since": 4}, {"objects": "order,contact,account"}):
            answer = (await running.device("T-NORTH").get("north", **question)).json()
            assert list(answer) == list(OBJECTS)
            assert all(list(lists) == ["insert", "update", "deleted"] for lists in answer.values())

    run(scenario)


@pytest.mark.parametrize("name", ["account", "contact", "opportunity", "activity", "order"])
def test_a_row_is_json_with_its_id_first_then_all_fields_in_camel_case(name: str) -> None:
    obj = load_catalog()[name]
    with duckdb.connect() as connection:
        columns = ["? AS row_id", *(f'{WRITTEN[kind][1]} AS "{field}"' for field, kind in obj.fields.items())]
        blank = ["? AS row_id", *(f'NULL::{WRITTEN[kind][0]} AS "{field}"' for field, kind in obj.fields.items())]
        texts = []
        for one in (columns, blank):
            answer = connection.execute(f"SELECT {body_expression(obj)} FROM (SELECT {', '.join(one)})", ["1-A"])
            ((text,),) = answer.fetchall()
            texts.append(text)
    members = [field[0].lower() + field[1:] for field in obj.fields]
    values = [WRITTEN[kind][2] for kind in obj.fields.values()]
    first = f'{{"{name}Id":"1-A"'
    assert texts[0] == first + "".join(f',"{m}":{value}' for m, value in zip(members, values, strict=True)) + "}"
    assert texts[1] == first + "".join(f',"{m}":null' for m in members) + "}"
