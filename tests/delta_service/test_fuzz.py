"""Generated requests: every answer is one that the OpenAPI document describes, and none is a server error.

``FUZZ_CASES=20000 .venv/bin/pytest tests/delta_service/test_fuzz.py`` tries many more requests than usual.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from delta_service.cursor import Anchor, Cursor
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import NAMES, WORLDS, publish, service_of, token
from tests.delta_service.contract import DOCUMENT, assert_described
from tests.delta_service.model import IDENTITY, OBJECTS

CASES = int(os.environ.get("FUZZ_CASES", "1000"))

GOOD_CURSOR = Cursor(IDENTITY.epoch, (Anchor(("T-NORTH",), 3, None),)).encode(IDENTITY.cursor_key)
WHOLE_CURSOR = Cursor(IDENTITY.epoch, (Anchor(("T-NORTH", "T-SOUTH"), 3, None),)).encode(IDENTITY.cursor_key)
OTHER_EPOCH_CURSOR = Cursor("other", (Anchor(("T-NORTH",), 3, None),)).encode(b"key")
CURSORS = [
    GOOD_CURSOR, WHOLE_CURSOR, GOOD_CURSOR[:-1], "0", "1", "4", "5", "2026-11-24T06:00:30Z", "2026-11-24 06:00",
    OTHER_EPOCH_CURSOR,
    Cursor(IDENTITY.epoch, ()).encode(IDENTITY.cursor_key),
    Cursor(IDENTITY.epoch, (Anchor((), 3, ("account",)), Anchor(("*",), 2, ("order",)))).encode(IDENTITY.cursor_key),
]  # fmt: skip
FLAGS = ["true", "false", "1", ""]
LIKELY = {
    "since": CURSORS,
    "cursor": CURSORS,
    "page": [GOOD_CURSOR, "p1.e30.e30"],
    "limit": ["1", "2", "50000", "50001", "0", "x"],
    "objects": ["account", "contact,order", "martian", ","],
    "wait": ["0", "61", "-1"],
    "Prefer": ["wait=0", "respond-async", ";;,="],
    "If-None-Match": ["*", "*", '"x"', 'W/"', ","],
    "territory": [*4 * ["T-NORTH"], "South", "T-EAST", "Twin", "nowhere", "%2e%2e"],
    "object": [*OBJECTS, "martian"],
    "rowId": ["A1", "A2", "A3", "A99"],
    "versions": FLAGS, "reasons": FLAGS, "envelope": FLAGS, "buckets": FLAGS,
}  # fmt: skip
# How often a parameter is present, in twentieths.
TWENTIETHS = {"since": 12, "cursor": 12, "page": 1, "If-None-Match": 8, "object": 19, "rowId": 19, "territory": 19}
TEXT = st.text(max_size=20)
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda e: st.lists(e) | st.dictionaries(TEXT, e))
DIGESTS = st.lists(st.sampled_from(["0" * 16, "f" * 16]), min_size=256, max_size=256)
BODIES = (
    st.fixed_dictionaries(
        {"buckets": st.dictionaries(st.sampled_from(OBJECTS), DIGESTS, min_size=1)},
        optional={"cursor": st.sampled_from(CURSORS)},
    )
    | st.fixed_dictionaries(
        {
            "cursor": st.sampled_from([GOOD_CURSOR, WHOLE_CURSOR, *CURSORS]),
            "differing": st.dictionaries(st.sampled_from(OBJECTS), st.just(list(range(256))) | st.lists(st.integers())),
            "versions": st.dictionaries(
                st.sampled_from(OBJECTS), st.dictionaries(TEXT, st.sampled_from(["", "0" * 16, "no"]))
            ),
        }
    )
    | st.dictionaries(st.sampled_from(["cursor", "buckets", "differing", "versions", "more"]), JSON)
    | JSON
)
CONTENTS = BODIES.map(json.dumps) | st.binary(max_size=50) | st.just('{"cursor":"\\ud800"}')
OPERATIONS = [
    (method, path, operation.get("parameters", []) + item.get("parameters", []))
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in ("get", "post")
    for _ in range(5 if path.startswith("/v1/") else 1)
]


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request built from the document; each parameter is absent, a likely value or arbitrary text."""
    method, path, parameters = draw(st.sampled_from(OPERATIONS))
    query: list[tuple[str, str]] = []
    headers = draw(st.sampled_from([{}, {"Accept": "application/x-ndjson"}, {"Accept-Encoding": "gzip;q=x, *;q=0.1"}]))
    for parameter in parameters:
        name, where = parameter["name"], parameter["in"]
        values = st.sampled_from(LIKELY[name]) if name in LIKELY else HEADER_TEXT
        if where == "path":
            path = path.replace("{territory}", quote(draw(values | TEXT.filter(bool)), safe="%"))
        elif draw(st.integers(1, 20)) <= TWENTIETHS.get(name, 3):
            text = draw(st.one_of(*5 * [values], TEXT if where == "query" else HEADER_TEXT))
            if where == "query":
                query.append((name, text))
            else:
                headers = headers | {name: text}
    if draw(st.integers(0, 19)) == 19:
        query.append((draw(TEXT), draw(TEXT)))
    request: dict[str, Any] = {"method": method, "url": path, "params": query, "headers": headers}
    return request | ({"content": draw(CONTENTS)} if method == "post" else {})


def get(url: str, **query: str) -> dict[str, Any]:
    return {"method": "GET", "url": url, "params": list(query.items()), "headers": {}}


@pytest.fixture
def send(tmp_path: Path) -> Iterator[Any]:
    """Sends requests to one running service, which allows no waiting: answers to waiting requests would not end."""
    with asyncio.Runner() as runner, DeltaStoreWriter(tmp_path / "delta.sqlite") as writer:
        writer.initialise(IDENTITY)
        publish(writer, WORLDS)
        writer.set_territories(NAMES)
        writer.prune(1, 2)
        context = service_of(tmp_path, writer, snapshots_per_second=10**5, reconciles_per_second=10**5, connections=1)
        client = runner.run(context.__aenter__()).client
        yield lambda request: runner.run(client.request(**request))
        runner.run(context.__aexit__(None, None, None))


def test_every_answer_matches_the_openapi_document_and_none_is_a_server_error(send: Any) -> None:
    bearers = [
        token(["T-NORTH"]),
        token(["T-NORTH", "South"], admin=True),
        token(["nowhere", "T-NORTH"]),
        "nonsense",
        None,
    ]
    seen: set[tuple[str, int]] = set()

    # Rare answers need explicit examples: generated requests do not reach them in every run. Derandomized runs differ,
    # too, because Hypothesis also draws constants from whichever of our modules are imported.
    @example(get("/v1/territories/nowhere/delta"), 2)
    @example(get("/v1/delta", since=OTHER_EPOCH_CURSOR), 0)
    @example(get("/v1/delta", since="0"), 0)
    @example(get("/v1/events"), 0)
    @given(requests(), st.sampled_from([0, 0, 1, 1, 1, 2, 2, 2, 3, 4]))
    @settings(
        max_examples=CASES,
        derandomize="FUZZ_CASES" not in os.environ,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def check(request: dict[str, Any], bearer: int) -> None:
        if bearers[bearer] is not None:
            request["headers"] = request["headers"] | {"Authorization": f"Bearer {bearers[bearer]}"}
        answer: httpx.Response = send(request)
        assert answer.status_code < 500, answer.text
        assert_described(answer)
        seen.add((answer.request.method, answer.status_code))

    check()
    # The requests are useful only if some get past the first checks.
    expected = {("GET", status) for status in (200, 400, 401, 403, 404, 409, 410, 429)}
    assert expected | {("POST", status) for status in (200, 400, 401, 403)} <= seen
