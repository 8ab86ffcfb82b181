"""The device guide is correct: advice for each error code, SQL that runs, Swift that parses, a correct example."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

import apsw
import pytest
import tree_sitter_swift
from tree_sitter import Language, Node, Parser

from tests.e2e.system import PROJECT

GUIDE = (PROJECT / "docs/device-guide.md").read_text()
# Section 8 of the contract.
CONTRACT = {
    "cursor-malformed", "parameter-unknown", "limit-invalid", "scope-denied", "not-found", "cursor-epoch",
    "cursor-ahead", "cursor-expired", "page-expired", "starting", "store-unavailable",
}  # fmt: skip


def codes_of_the_service() -> set[str]:
    """Constants that the code passes as problem codes."""
    places = {"ProblemError": 1, "bad_request": 0, "_number": 5}
    codes: set[str] = set()
    for path in (PROJECT / "delta_service").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in places:
                given = node.args[places[node.func.id] :][:1]
                values = [argument.value for argument in given if isinstance(argument, ast.Constant)]
                codes |= {value for value in values if isinstance(value, str)}
    return codes


def test_the_guide_says_what_to_do_on_each_code() -> None:
    table = GUIDE[GUIDE.index("## What to do on each error") :]
    advised = {
        code for row in re.findall(r"^\| \w+ \| ([^|]+) \|", table, re.MULTILINE) for code in row.split("`")[1::2]
    }
    codes = codes_of_the_service()
    assert codes >= CONTRACT
    assert advised == codes | {"code"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_guides_sql_runs_and_does_what_the_guide_says() -> None:
    device = apsw.Connection(":memory:")
    for block in blocks("sql"):
        device.execute(block)
    (apply,) = re.findall(r"func apply\(.*?\n}", "".join(blocks("swift")), re.DOTALL)
    statements = re.findall(r'sql: "{3}\n(.*?)"{3}|sql: "(.*?)"', apply, re.DOTALL)
    remove_unlisted, remove_deleted, write, forget = (several or one for several, one in statements)
    device.executemany("INSERT INTO row VALUES ('account', ?, ?)", [(name, "{}") for name in "ABC"])
    texts = [("B", None), ("C", '{"accountId":"C"}'), ("D", '{"accountId":"D","x":1.50}')]
    device.executemany("INSERT INTO staged VALUES ('account', ?, ?)", texts)

    def rows() -> list[tuple[str, str]]:
        return list(device.execute("SELECT id, body FROM row ORDER BY id"))

    device.execute(remove_deleted)
    device.execute(write)
    assert rows() == [("A", "{}"), *texts[1:]]
    device.execute(remove_unlisted)
    device.execute(forget)
    assert rows() == texts[1:]
    assert list(device.execute("SELECT account_id FROM row WHERE object = 'account' ORDER BY id")) == [("C",), ("D",)]
    assert list(device.execute("SELECT * FROM staged")) == []


def parsed(swift: str) -> Node:
    return Parser(Language(tree_sitter_swift.language())).parse(swift.encode()).root_node


def faults(node: Node) -> Iterator[str]:
    """Syntax errors, with their line in the snippet."""
    if node.is_error or node.is_missing:
        yield f"line {node.start_point.row + 1}: {node}"
    for child in node.children:
        yield from faults(child)


@pytest.mark.parametrize("snippet", blocks("swift"), ids=lambda snippet: snippet.splitlines()[0])
def test_each_swift_snippet_parses(snippet: str) -> None:
    assert list(faults(parsed(snippet))) == []
    # The parser finds typical mistakes.
    assert list(faults(parsed(snippet.replace("}", "", 1))))
    assert list(faults(parsed(snippet.replace("func ", "funk ", 1))))


def strings(node: Node) -> Iterator[str]:
    if node.type in ("line_string_literal", "multi_line_string_literal"):
        text = node.text
        assert text is not None
        yield text.decode().strip('"').strip()
    for child in node.children:
        yield from strings(child)


def test_each_sql_statement_in_a_swift_snippet_runs_on_the_guides_tables() -> None:
    device = apsw.Connection(":memory:")
    for block in blocks("sql"):
        device.execute(block)
    statements = [text for block in blocks("swift") for text in strings(parsed(block)) if re.match("[A-Z]{5,} ", text)]
    assert len(statements) == "".join(blocks("swift")).count("sql:") >= 10
    for statement in statements:
        device.execute(statement, ["{}"] * statement.count("?"))


def test_the_worked_example_is_the_published_one() -> None:
    vectors = json.loads((PROJECT / "docs/digest-vectors.json").read_text())
    first, *_ = accounts = [row for row in vectors["rows"] if row["object"] == "account"]
    example = GUIDE[GUIDE.index("A worked example") : GUIDE.index("## Repair")]
    assert first["text"] in example
    assert f"account|{first['rowId']}|{first['version']}" in example
    assert example.count(first["version"]) == 3
    assert f"→ {first['bucket']}\n" in example
    assert " + ".join(row["part"] for row in accounts) in example
    assert vectors["digests"]["account"] in example
    assert vectors["buckets"]["account"][str(first["bucket"])] in GUIDE
    assert f"`{first['part']}`" in GUIDE


def test_no_lock_file_names_a_registry() -> None:
    for lock in (PROJECT / "docs/clients").glob("*/package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        assert not [name for name, package in packages.items() if "resolved" in package]
        assert all("integrity" in package for name, package in packages.items() if name)
