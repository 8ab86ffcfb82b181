"""The OpenAPI description as one plain page: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h2{border-top:1px solid #ccc;padding-top:1rem}code,pre{background:#f4f4f4;border-radius:4px;padding:.1em .3em}
pre{padding:1rem;overflow:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}"""


def html_of(document: dict[str, Any]) -> str:
    return "\n".join(_lines(document))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    yield f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
    yield f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}"
    yield " Machine-readable: <a href=/openapi.json>/openapi.json</a>.</p>"
    for path, item in document["paths"].items():
        ((method, operation),) = [(name, item[name]) for name in ("get", "post") if name in item]
        yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}</p>"
        parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
        yield from _table("Parameter", [(f"{p['name']} ({p['in']})", p["description"]) for p in parameters])
        responses = operation["responses"]
        yield from _table("Answer", [(status, answer["description"]) for status, answer in responses.items()])
        headers = responses["200"].get("headers", {})
        yield from _table("Header", [(name, header["description"]) for name, header in headers.items()])
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f"<h3>{escape(name)}</h3><pre>{escape(json.dumps(schema, indent=2))}</pre>"
    yield "</html>"


def _table(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield f"<table><tr><th>{title}<th>Meaning"
        for name, meaning in rows:
            yield f"<tr><td><code>{escape(name)}</code><td>{escape(meaning)}"
        yield "</table>"
