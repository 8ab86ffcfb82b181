"""The page's scripts extract row texts exactly, and compute versions, digests and buckets as published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.node import copied_modules, needs_node, run_node
from tests.e2e.device import digest_of

pytestmark = [pytest.mark.processes, needs_node]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_modules(tmp_path_factory.mktemp("page"))


def node(modules: Path, script: str, given: Any) -> Any:
    """Run a module in the page's folder; ``given`` is in scope, ``give(value)`` answers."""
    source = f"const given = {json.dumps(given)}; const give = (v) => console.log(JSON.stringify(v));\n{script}"
    return run_node(["--input-type=module", "-"], text=source, folder=modules)


ENTRIES = """
import { entriesOf } from "./rows.js";
const parse = (body) => { try { return [...entriesOf(body)]; } catch (error) { return error.name; } };
give(given.map(parse));
"""


def test_row_texts_are_extracted_exactly_as_served(modules: Path) -> None:
    rows = [
        r'{"accountId":"A","name":"K\u00e4the \"Zum L\\öwen\\\\\" {[,]}","revenue":1200.50,"x":null}',
        '{"accountId": "B", "nested": {"a": [1, {"b": "]"}]}, "big": 1e400}',
    ]
    lists = f'"insert":[{rows[0]} , {rows[1]}],"update":[],"deleted":[{{"rowId":"Z"}}]'
    body = f'{{"_sync":{{"counts":{{"a":1}}}},"account":{{{lists}}}}}'
    assert node(modules, ENTRIES, [body]) == [
        [
            {"object": "account", "list": "insert", "text": rows[0]},
            {"object": "account", "list": "insert", "text": rows[1]},
            {"object": "account", "list": "deleted", "text": '{"rowId":"Z"}'},
        ]
    ]


def test_a_truncated_answer_is_an_error_wherever_it_is_cut(modules: Path) -> None:
    body = '{"account":{"insert":[{"accountId":"A","name":"x\\"y"}],"update":[],"deleted":[]},"order":{"insert":[]}}'
    answers = node(modules, ENTRIES, [body[:length] for length in range(len(body))])
    assert set(answers) == {"SyntaxError"}
    assert node(modules, ENTRIES, [body + "}"]) == ["SyntaxError"]


def test_versions_digests_and_buckets_are_the_published_ones(modules: Path) -> None:
    rows = {f"1QA2-{n}": f'{{"accountId":"1QA2-{n}","name":"Käthe {n}","revenue":{n}.50}}' for n in range(300)}
    script = """
    import { bucketOf, partOf, versionOf } from "./digest.js";
    import { comparison } from "./repair.js";
    import { Replica } from "./replica.js";
    const stored = await Promise.all(
      Object.entries(given).map(async ([id, text]) => {
        return { object: "account", id, text, part: await partOf("account", id, text) };
      }),
    );
    const replica = new Replica(stored);
    const { buckets } = await comparison(replica.rows, ["account", "order"]);
    const whole = replica.digest("account");
    for (const { id } of stored.slice(1)) replica.remove("account", id);
    const [{ id, text, part }] = stored;
    give({ whole, one: replica.digest("account"), part, none: replica.digest("order"),
           version: await versionOf(text), bucket: await bucketOf(id), buckets });
    """
    got = node(modules, script, rows)
    row_id, text = next(iter(rows.items()))
    by_bucket: list[dict[str, bytes]] = [{} for _ in range(256)]
    for each, content in rows.items():
        by_bucket[hashlib.sha256(each.encode()).digest()[0]][each] = content.encode()
    assert got["whole"] == digest_of("account", {each: content.encode() for each, content in rows.items()})
    assert got["one"] == got["part"] == digest_of("account", {row_id: text.encode()})
    assert got["none"] == "0" * 16
    assert got["version"] == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert got["bucket"] == hashlib.sha256(row_id.encode()).digest()[0]
    assert got["buckets"] == {"account": [digest_of("account", held) for held in by_bucket], "order": ["0" * 16] * 256}
