"""The OpenAPI 3.1 description, written by hand and held against the running service by tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from delta_service.query import DEFAULT_LIMIT_ROWS, MAX_LIMIT_ROWS, MAX_WAIT_SECONDS
from delta_service.schemas import TEXT, JsonObject, reference, schemas

_FLAG: JsonObject = {"type": "boolean", "default": False}
_TERRITORY_PATH = "/v1/territories/{territory}/"
_AT_SCOPE = (400, 401, 503)
_AT_TERRITORY = (400, 401, 403, 404, 503)

Describe = Callable[[str, str, Sequence[int]], JsonObject]


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
            **_of_scope("delta", "get", _delta),
            **_of_scope("digest", "get", _digest),
            **_of_scope("reconcile", "post", _reconcile),
            "/v1/events": {"get": _events()},
            "/v1/territories": {
                "get": _operation("territories", "The territories of the token", _listing(), _AT_SCOPE),
            },
            "/v1/explain": {"get": _explain()},
            "/healthz": {"get": _open("healthz", "Whether the process is alive", _json("It is."))},
            "/readyz": {
                "get": _open("readyz", "Whether deltas can be served", _json("Yes.", reference("Ready")), [503])
            },
            "/metrics": {"get": _open("metrics", "Prometheus metrics", _content("text/plain", "Metrics."))},
            "/openapi.json": {"get": _open("openapi", "This description", _json("OpenAPI 3.1."))},
            "/docs": {"get": _open("docs", "This description to read", _content("text/html", "A page."))},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": schemas(objects),
        },
    }


def _of_scope(name: str, method: str, describe: Describe) -> JsonObject:
    """A route of one territory, and the same of all that the token names."""
    territory = _parameter("territory", "path", TEXT, "Row id, or name where unique.")
    return {
        _TERRITORY_PATH + name: {
            "parameters": [territory],
            method: describe(f"{name}OfTerritory", "of one territory", _AT_TERRITORY),
        },
        f"/v1/{name}": {method: describe(name, "of all territories of the token, as one view", _AT_SCOPE)},
    }


def _delta(operation_id: str, of: str, problems: Sequence[int]) -> JsonObject:
    answer = _json("The delta.", reference("Delta"))
    answer["content"]["application/x-ndjson"] = {"schema": reference("Line")}
    parameters = [
        _parameter(
            "since",
            "query",
            TEXT,
            "What the device holds: a cursor, a publication number, or an RFC 3339 time. Absent on a first sync. "
            "A time is rounded down to a publication, and the answer leads to the newest view from each view since "
            "then: it may repeat rows, and delete rows that the device never had. A time before the first publication "
            "is a first sync. `Sync-Published` and `Sync-As-Of`, sent back character for character, are as exact as a "
            "cursor.",
        ),
        _parameter(
            "limit",
            "query",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT_ROWS, "default": DEFAULT_LIMIT_ROWS},
            "Rows a page. An NDJSON answer is never cut into pages.",
        ),
        _OBJECTS,
        _VERSIONS,
        _parameter("reasons", "query", _FLAG, "Adds why to each deletion: deleted, moved or merged (into)."),
        _ENVELOPE,
        _parameter(
            "wait",
            "query",
            {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0},
            "Seconds to hold the answer until something changes.",
        ),
        _parameter("page", "query", TEXT, "From a Link header; replaces all other parameters."),
        _parameter("Prefer", "header", TEXT, "`wait=N`, like the parameter."),
        _parameter("If-None-Match", "header", TEXT, "The ETag of an earlier answer."),
    ]
    found = _operation(operation_id, f"Delta {of}", answer, (*problems, 409, 410, 429), parameters)
    found["responses"]["200"]["headers"] = _SYNC_HEADERS
    found["responses"]["304"] = {"description": "The answer is the one the device has.", "headers": _SYNC_HEADERS}
    return found


def _digest(operation_id: str, of: str, problems: Sequence[int]) -> JsonObject:
    parameters = [
        _parameter("cursor", "query", TEXT, "The view asked about, in any form of `since`; absent: the newest."),
        _OBJECTS,
        _parameter("buckets", "query", _FLAG, "Adds the digests of the 256 buckets of each object."),
    ]
    answer = _json("Counts and digests at the cursor.", reference("Digest"))
    found = _operation(operation_id, f"Digest {of}", answer, (*problems, 409, 410, 429), parameters)
    found["responses"]["200"]["headers"] = _SYNC_HEADERS
    return found


def _reconcile(operation_id: str, of: str, problems: Sequence[int]) -> JsonObject:
    answer = _json("First round: the buckets that differ. Second round: a delta.")
    answer["content"]["application/json"]["schema"] = {"oneOf": [reference("Differing"), reference("Delta")]}
    statuses = (*problems, 408, 409, 410, 413, 429)
    found = _operation(operation_id, f"Repair {of}", answer, statuses, [_VERSIONS, _ENVELOPE])
    found["responses"]["200"]["headers"] = _SYNC_HEADERS
    bodies = {"oneOf": [reference("Comparison"), reference("Repair")]}
    found["requestBody"] = {"required": True, "content": {"application/json": {"schema": bodies}}}
    return found


def _events() -> JsonObject:
    known = _parameter("Last-Event-ID", "header", TEXT, "The id of the last event (a cursor); browsers send it.")
    answer = _content(
        "text/event-stream",
        "`publication` events: `scope`, `cursor`, `counts`, and `held` and `heldSince` while rows are held back. The "
        "first says where the scope is now, unless the id of the last event shows that the caller knows. Comments in "
        "between show that the connection is alive.",
    )
    return _operation("events", "Publications that touch the scope, as they happen", answer, (*_AT_SCOPE, 429), [known])


def _explain() -> JsonObject:
    parameters = [
        {**_parameter("territory", "query", TEXT, "Row id, or name where unique."), "required": True},
        {**_parameter("object", "query", TEXT, "As in a delta."), "required": True},
        {**_parameter("rowId", "query", TEXT, "The row's id."), "required": True},
    ]
    answer = _json("Why, and the history behind it; no content.", reference("Explanation"))
    return _operation("explain", "Why a row is, or is not, in a territory", answer, _AT_TERRITORY, parameters)


def _listing() -> JsonObject:
    return _json("Territories by id.", reference("Territories"))


_HEADER_TEXTS = {
    "Sync-Cursor": "The view the device holds once it has applied this; on the last page only.",
    "Sync-Complete": "false: follow the Link with rel=next.",
    "Link": "The next page.",
    "Sync-Exact": "false: rows and deletes may be repeated, none is missing.",
    "Sync-Mode": "replace: rows not listed are to be removed.",
    "Sync-As-Of": "Everything that changed in the CRM up to this time is in. RFC 3339 with nine decimals.",
    "Sync-Published": "When this view was published. RFC 3339 with nine decimals.",
    "Sync-Next-Expected": "Seconds until asking again is worth it.",
    "Sync-Counts": "Rows of the whole view, by object.",
    "Sync-Digest": "Digests of the whole view, by object: the sum modulo 2^64 of its rows' digests.",
    "Sync-Held": "Rows of the scope that are held back, by object: they may be outdated. Absent while there are none.",
    "Sync-Held-Since": "When the first of them was held.",
    "ETag": "Weak validator for If-None-Match.",
    "Preference-Applied": "The wait that a Prefer header brought about.",
}
_SYNC_HEADERS: JsonObject = {name: {"description": text, "schema": TEXT} for name, text in _HEADER_TEXTS.items()}

_PROBLEM_TEXTS = {
    400: "cursor-malformed, parameter-unknown, parameter-invalid, object-unknown, limit-invalid, body-invalid",
    401: "unauthorized",
    403: "scope-denied",
    404: "not-found",
    408: "request-timeout",
    409: "cursor-epoch, cursor-ahead",
    410: "cursor-expired, page-expired",
    413: "content-too-large",
    429: "rate-limited",
    503: "starting, store-unavailable",
}


def _operation(
    operation_id: str, summary: str, answer: JsonObject, problems: Sequence[int], parameters: Sequence[JsonObject] = ()
) -> JsonObject:
    content = {"application/problem+json": {"schema": reference("Problem")}}
    refusals = {str(status): {"description": _PROBLEM_TEXTS[status], "content": content} for status in sorted(problems)}
    found: JsonObject = {"operationId": operation_id, "summary": summary, "responses": {"200": answer, **refusals}}
    return found | ({"parameters": list(parameters)} if parameters else {})


def _open(operation_id: str, summary: str, answer: JsonObject, problems: Sequence[int] = ()) -> JsonObject:
    """An operation that needs no token."""
    return _operation(operation_id, summary, answer, problems) | {"security": []}


def _parameter(name: str, where: str, schema: JsonObject, description: str) -> JsonObject:
    required = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "schema": schema, "description": description, **required}


_OBJECTS = _parameter("objects", "query", TEXT, "Comma-separated subset of the objects.")
_VERSIONS = _parameter("versions", "query", _FLAG, "Adds `_v`, the row's version, to each row.")
_ENVELOPE = _parameter("envelope", "query", _FLAG, "Repeats the Sync headers in a member `_sync`.")


def _json(description: str, schema: JsonObject | None = None) -> JsonObject:
    return {"description": description, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


def _content(media_type: str, description: str) -> JsonObject:
    return {"description": description, "content": {media_type: {"schema": TEXT}}}
