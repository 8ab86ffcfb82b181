"""Holds answers against the OpenAPI document: status, content type, body, headers."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from delta_service.openapi import openapi_document
from tests.delta_service.model import OBJECTS

DOCUMENT = openapi_document(OBJECTS)
# What any address may answer, described once and for all in section 8 of the contract.
UNIVERSAL = {"405": "method-not-allowed", "500": "internal"}


def described(method: str, path: str) -> dict[str, Any] | None:
    """The operation of a path, if the document has it."""
    for template, item in DOCUMENT["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if re.fullmatch(pattern, path):
            operation: dict[str, Any] | None = item.get("get" if method == "HEAD" else method.lower())
            return operation
    return None


@lru_cache
def validator(schema: str) -> Draft202012Validator:
    """Of a schema given as JSON, with the document's components."""
    return Draft202012Validator(json.loads(schema) | {"components": DOCUMENT["components"]})


def assert_described(answer: httpx.Response) -> None:
    """Raises AssertionError where the document does not say that this may be answered."""
    request = answer.request
    operation = described(request.method, request.url.raw_path.partition(b"?")[0].decode())
    if operation is None or str(answer.status_code) in UNIVERSAL:
        return
    response = operation["responses"].get(str(answer.status_code))
    assert response is not None, f"{request.method} {request.url.path} answers {answer.status_code}: {answer.text}"
    unknown = {name for name in answer.headers if name.startswith("sync-")} - {
        name.lower() for name in response.get("headers", {})
    }
    assert not unknown, f"headers that are not described: {unknown}"
    if "content" not in response:
        assert not answer.content
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in response["content"], media_type
    schema = json.dumps(response["content"][media_type]["schema"])
    if media_type.endswith("json") and request.method != "HEAD":
        instances = answer.text.splitlines() if media_type.endswith("ndjson") else [answer.text]
        for instance in instances:
            validator(schema).validate(json.loads(instance))
