"""The OpenAPI 3.1 description, written by hand and held against the running service by tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from delta_service.query import DEFAULT_LIMIT_ROWS, MAX_LIMIT_ROWS, MAX_WAIT_SECONDS

JsonObject = dict[str, Any]

_FLAG: JsonObject = {"type": "boolean", "default": False}
_TEXT: JsonObject = {"type": "string"}
_TIME: JsonObject = {"type": "string", "format": "date-time"}
_COUNT: JsonObject = {"type": "integer", "minimum": 0}


def openapi_document(objects: Sequence[str]) -> JsonObject:
    """The description of this service while it serves ``objects``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Territory delta service",
            "version": "1",
            "description": "The difference between what a device holds and what its territories hold now.",
        },
        "security": [{"bearer": []}],
        "paths": {
            "/v1/territories/{territory}/delta": {
                "parameters": [_parameter("territory", "path", _TEXT, "Row id, or name where unique.")],
                "get": _delta_operation("territoryDelta", "Delta of one territory"),
            },
            "/v1/delta": {"get": _delta_operation("delta", "Delta of all territories of the token, as one view")},
            "/v1/territories": {
                "get": {
                    "operationId": "territories",
                    "summary": "The territories of the token",
                    "responses": {"200": _json("Territories by id.", _ref("Territories")), **_problems(401, 503)},
                }
            },
            "/healthz": {"get": _operation("healthz", "Whether the process is alive", {"200": _json("It is.")})},
            "/readyz": {
                "get": _operation(
                    "readyz", "Whether deltas can be served", {"200": _json("They can."), **_problems(503)}
                )
            },
            "/metrics": {"get": _operation("metrics", "Prometheus metrics", {"200": _content("text/plain")})},
            "/openapi.json": {"get": _operation("openapi", "This description", {"200": _json("OpenAPI 3.1.")})},
            "/docs": {"get": _operation("docs", "This description to read", {"200": _content("text/html")})},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {
                "Delta": _delta_schema(objects),
                "Changes": _CHANGES,
                "Line": _LINE,
                "Sync": _SYNC,
                "Territories": _TERRITORIES,
                "Problem": _PROBLEM,
            },
        },
    }


def _delta_operation(operation_id: str, summary: str) -> JsonObject:
    delta = _json("The delta.", _ref("Delta"))
    delta["content"]["application/x-ndjson"] = {"schema": _ref("Line")}
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": [
            _parameter(
                "since",
                "query",
                _TEXT,
                "What the device holds: a cursor, a publication number, or an RFC 3339 time. Absent on a first sync.",
            ),
            _parameter(
                "limit",
                "query",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT_ROWS, "default": DEFAULT_LIMIT_ROWS},
                "Rows a page. An NDJSON answer is never cut into pages.",
            ),
            _parameter("objects", "query", _TEXT, "Comma-separated subset of the objects."),
            _parameter("versions", "query", _FLAG, "Adds `_v`, the row's version, to each row."),
            _parameter("reasons", "query", _FLAG, "Adds why to each deletion: deleted, moved or merged (into)."),
            _parameter("envelope", "query", _FLAG, "Repeats the Sync headers in a member `_sync`."),
            _parameter(
                "wait",
                "query",
                {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0},
                "Seconds to hold the answer until something changes.",
            ),
            _parameter("page", "query", _TEXT, "From a Link header; replaces all other parameters."),
            _parameter("Prefer", "header", _TEXT, "`wait=N`, like the parameter."),
            _parameter("If-None-Match", "header", _TEXT, "The ETag of an earlier answer."),
        ],
        "responses": {
            "200": {**delta, "headers": _HEADERS},
            "304": {"description": "The answer is the one the device has.", "headers": _HEADERS},
            **_problems(400, 401, 403, 404, 409, 410, 429, 503),
        },
    }


def _delta_schema(objects: Sequence[str]) -> JsonObject:
    return {
        "type": "object",
        "description": "Object to changes, parents before children; every object is there unless a subset was asked.",
        "properties": {"_sync": _ref("Sync")} | {name: _ref("Changes") for name in objects},
        "additionalProperties": _ref("Changes"),
    }


_ROW: JsonObject = {
    "type": "object",
    "description": "The whole row; its first member is `<object>Id`.",
    "properties": {"_v": {"type": "string", "pattern": "^[0-9a-f]{16}$"}},
}
_DELETION: JsonObject = {
    "type": "object",
    "required": ["rowId"],
    "properties": {
        "rowId": _TEXT,
        "reason": {"enum": ["deleted", "moved", "merged"]},
        "into": {"type": "string", "description": "The surviving row, where merged."},
    },
}
_CHANGES: JsonObject = {
    "type": "object",
    "required": ["insert", "update", "deleted"],
    "properties": {
        "insert": {"type": "array", "items": _ROW},
        "update": {"type": "array", "items": _ROW},
        "deleted": {"type": "array", "items": _DELETION},
    },
}
_DIGESTS: JsonObject = {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{16}$"}}
_COUNTS: JsonObject = {"type": "object", "additionalProperties": _COUNT}
_SYNC: JsonObject = {
    "type": "object",
    "required": ["complete", "exact", "nextExpected", "counts", "digest"],
    "properties": {
        "cursor": {"type": "string", "description": "On the last page."},
        "next": {"type": "string", "description": "Address of the next page, on all others."},
        "complete": {"type": "boolean"},
        "exact": {"type": "boolean"},
        "asOf": _TIME,
        "published": _TIME,
        "nextExpected": {"type": "integer", "description": "Seconds until asking again is worth it."},
        "mode": {"const": "replace"},
        "counts": _COUNTS,
        "digest": _DIGESTS,
    },
}
_LINE: JsonObject = {
    "description": "One line each: an operation, and at the end the trailer, without which the answer is not complete.",
    "oneOf": [
        {"type": "object", "required": ["trailer"], "properties": {"trailer": {"$ref": "#/components/schemas/Sync"}}},
        {
            "type": "object",
            "required": ["object", "op"],
            "properties": {
                "object": _TEXT,
                "op": {"enum": ["insert", "update", "deleted"]},
                "row": _ROW,
                **_DELETION["properties"],
            },
        },
        {
            "type": "object",
            "required": ["problem"],
            "properties": {"problem": {"$ref": "#/components/schemas/Problem"}},
        },
    ],
}
_TERRITORIES: JsonObject = {
    "type": "object",
    "required": ["territories"],
    "properties": {
        "territories": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "name", "cursor", "publishedSeq", "touchedSeq", "counts", "digest", "delta"],
                "properties": {
                    "id": _TEXT,
                    "name": {"type": ["string", "null"]},
                    "cursor": {"type": "string", "description": "The territory's newest view."},
                    "publishedSeq": _COUNT,
                    "touchedSeq": {"type": "integer", "description": "The newest publication that changed the view."},
                    "counts": _COUNTS,
                    "digest": _DIGESTS,
                    "delta": {"type": "string", "description": "Address of the delta."},
                },
            },
        }
    },
}
_PROBLEM: JsonObject = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "requestId"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable, for programs."},
        "detail": {"type": "string", "description": "A sentence for people."},
        "action": {"enum": ["reconcile", "snapshot", "restart", "retry"]},
        "links": {"type": "object", "additionalProperties": _TEXT},
        "requestId": _TEXT,
    },
}

_HEADER_TEXTS = {
    "Sync-Cursor": "The view the device holds once it has applied this; on the last page only.",
    "Sync-Complete": "false: follow the Link with rel=next.",
    "Link": "The next page.",
    "Sync-Exact": "false: rows may be repeated, none is missing.",
    "Sync-Mode": "replace: rows not listed are to be removed.",
    "Sync-As-Of": "Everything that changed in the CRM up to this time is in.",
    "Sync-Published": "When this view was published.",
    "Sync-Next-Expected": "Seconds until asking again is worth it.",
    "Sync-Counts": "Rows of the whole view, by object.",
    "Sync-Digest": "Digests of the whole view, by object: the sum modulo 2^64 of its rows' digests.",
    "ETag": "Weak validator for If-None-Match.",
    "Preference-Applied": "The wait that a Prefer header brought about.",
}
_HEADERS: JsonObject = {name: {"description": text, "schema": _TEXT} for name, text in _HEADER_TEXTS.items()}

_PROBLEM_TEXTS = {
    400: "cursor-malformed, parameter-unknown, parameter-invalid, object-unknown, limit-invalid",
    401: "unauthorized",
    403: "scope-denied",
    404: "not-found",
    409: "cursor-epoch, cursor-ahead",
    410: "cursor-expired, page-expired",
    429: "rate-limited",
    503: "starting, store-unavailable",
}


def _problems(*statuses: int) -> JsonObject:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {str(status): {"description": _PROBLEM_TEXTS[status], "content": content} for status in statuses}


def _operation(operation_id: str, summary: str, responses: JsonObject) -> JsonObject:
    return {"operationId": operation_id, "summary": summary, "security": [], "responses": responses}


def _parameter(name: str, where: str, schema: JsonObject, description: str) -> JsonObject:
    required = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "schema": schema, "description": description, **required}


def _json(description: str, schema: JsonObject | None = None) -> JsonObject:
    return {"description": description, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


def _content(media_type: str) -> JsonObject:
    return {"description": "The page.", "content": {media_type: {"schema": _TEXT}}}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}
