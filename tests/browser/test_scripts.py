"""The page's scripts without a page, in Node: row texts as served, and digests as published."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import warnings
from typing import Any

import pytest

from tests.e2e.device import digest_of
from tests.e2e.system import PROJECT

PAGE = PROJECT / "delta_service/device_page"
NODE = shutil.which("node")

if NODE is None:
    warnings.warn("node is not installed: the device page's scripts are NOT tested", stacklevel=1)
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def node(script: str, given: Any) -> Any:
    """Run a module in the page's folder; ``given`` is in scope, ``give(value)`` answers."""
    source = f"const given = {json.dumps(given)}; const give = (v) => console.log(JSON.stringify(v));\n{script}"
    command = [str(NODE), "--input-type=module", "--no-warnings", "-"]
    ran = subprocess.run(command, input=source, text=True, capture_output=True, cwd=PAGE, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


ENTRIES = """
import { readFileSync } from "node:fs";
const url = "data:text/javascript;base64," + readFileSync("rows.js").toString("base64");
const { entriesOf } = await import(url);
const parse = (body) => { try { return [...entriesOf(body)]; } catch (error) { return error.name; } };
give(given.map(parse));
"""


def test_row_texts_come_out_exactly_as_they_were_served() -> None:
    rows = [
        r'{"accountId":"A","name":"K\u00e4the \"Zum L\\öwen\\\\\" {[,]}","revenue":1200.50,"x":null}',
        '{"accountId": "B", "nested": {"a": [1, {"b": "]"}]}, "big": 1e400}',
    ]
    lists = f'"insert":[{rows[0]} , {rows[1]}],"update":[],"deleted":[{{"rowId":"Z"}}]'
    body = f'{{"_sync":{{"counts":{{"a":1}}}},"account":{{{lists}}}}}'
    assert node(ENTRIES, [body]) == [
        [
            {"object": "account", "list": "insert", "text": rows[0]},
            {"object": "account", "list": "insert", "text": rows[1]},
            {"object": "account", "list": "deleted", "text": '{"rowId":"Z"}'},
        ]
    ]


def test_an_answer_cut_off_anywhere_is_an_error_never_fewer_rows() -> None:
    body = '{"account":{"insert":[{"accountId":"A","name":"x\\"y"}],"update":[],"deleted":[]},"order":{"insert":[]}}'
    answers = node(ENTRIES, [body[:length] for length in range(len(body))])
    assert set(answers) == {"SyntaxError"}
    assert node(ENTRIES, [body + "}"]) == ["SyntaxError"]


def test_versions_and_digests_are_the_published_ones() -> None:
    rows = {f"1QA2-{n}": f'{{"accountId":"1QA2-{n}","name":"Käthe {n}","revenue":{n}.50}}' for n in range(300)}
    script = """
    import { readFileSync } from "node:fs";
    const url = "data:text/javascript;base64," + readFileSync("digest.js").toString("base64");
    const { versionOf, partOf, sumOf } = await import(url);
    const parts = await Promise.all(Object.entries(given).map(([id, text]) => partOf("account", id, text)));
    give([sumOf(parts), sumOf([]), await versionOf(Object.values(given)[0])]);
    """
    total, empty, version = node(script, rows)
    assert total == digest_of("account", {row_id: text.encode() for row_id, text in rows.items()})
    assert empty == "0" * 16
    assert version == hashlib.sha256(next(iter(rows.values())).encode()).hexdigest()[:16]
