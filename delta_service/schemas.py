"""JSON Schemas of everything the service answers with, and of what it is sent: the components of its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from delta_service.buckets import BUCKET_COUNT
from delta_service.reconcile_body import body_schemas

JsonObject = dict[str, Any]

TEXT: JsonObject = {"type": "string"}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
TIME: JsonObject = {"type": "string", "format": "date-time"}
TIME_OR_NULL: JsonObject = {"type": ["string", "null"], "format": "date-time"}
DIGEST: JsonObject = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
VALUE: JsonObject = {"type": ["string", "number", "boolean", "null"], "description": "null where it is blank."}


def reference(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(objects: Sequence[str]) -> dict[str, JsonObject]:
    """By name, of a service that serves ``objects``."""
    return {
        "Delta": _delta(objects),
        **{f"{name}_changes": _changes(name) for name in objects},
        **{f"{name}_row": _row(name) for name in objects},
        "Deletion": _DELETION,
        "Line": _line(objects),
        "Sync": _strict(_SYNC, _SYNC_ALWAYS),
        "Digest": _strict(_SYNC | {"buckets": _by_object(_BUCKETS)}, [*_SYNC_ALWAYS, "cursor"]),
        "Differing": _strict({"cursor": TEXT, "differing": _by_object(_BUCKET_NUMBERS)}),
        "Territories": _strict({"territories": {"type": "array", "items": reference("Territory")}}),
        "Territory": _strict(_TERRITORY, [name for name in _TERRITORY if name not in _HELD]),
        "Explanation": _strict(_EXPLANATION),
        "Ready": _strict({"status": {"const": "ready"}, "publishedSeq": COUNT, "asOf": TIME}),
        "Problem": _strict(_PROBLEM, ["type", "title", "status", "code", "detail", "requestId"]),
        **body_schemas(),
    }


def _strict(properties: JsonObject, required: Sequence[str] | None = None) -> JsonObject:
    """An object with these members and no others; all are required unless said."""
    return {
        "type": "object",
        "required": list(properties if required is None else required),
        "properties": properties,
        "additionalProperties": False,
    }


def _by_object(schema: JsonObject) -> JsonObject:
    return {"type": "object", "additionalProperties": schema}


def _delta(objects: Sequence[str]) -> JsonObject:
    members = {name: reference(f"{name}_changes") for name in objects}
    return _strict({"_sync": reference("Sync")} | members, []) | {
        "description": "Object to changes, parents before children; every object is there unless a subset was asked."
    }


def _changes(name: str) -> JsonObject:
    rows = {"type": "array", "items": reference(f"{name}_row")}
    return _strict({"insert": rows, "update": rows, "deleted": {"type": "array", "items": reference("Deletion")}})


def _row(name: str) -> JsonObject:
    return {
        "type": "object",
        "description": f"The whole row. Its first member is `{name}Id`; all of its fields follow.",
        "required": [f"{name}Id"],
        "properties": {f"{name}Id": TEXT, "_v": DIGEST},
        "additionalProperties": VALUE,
    }


def _line(objects: Sequence[str]) -> JsonObject:
    contents = [
        _strict({"object": {"const": name}, "op": {"enum": ["insert", "update"]}, "row": reference(f"{name}_row")})
        for name in objects
    ]
    deletion = _strict(
        {"object": {"enum": list(objects)}, "op": {"const": "deleted"}, **_DELETION["properties"]},
        ["object", "op", "rowId"],
    )
    ends = [_strict({"trailer": reference("Sync")}), _strict({"problem": reference("Problem")})]
    return {
        "description": "One line each: an operation, and at the end the trailer; without it the answer is incomplete.",
        "oneOf": [*contents, deletion, *ends],
    }


_DELETION: JsonObject = _strict(
    {
        "rowId": TEXT,
        "reason": {"enum": ["deleted", "moved", "merged"]},
        "into": {"type": "string", "description": "The surviving row, where merged."},
    },
    ["rowId"],
)
_BUCKETS: JsonObject = {"type": "array", "items": DIGEST, "minItems": BUCKET_COUNT, "maxItems": BUCKET_COUNT}
_BUCKET_NUMBERS: JsonObject = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "exclusiveMaximum": BUCKET_COUNT},
    "uniqueItems": True,
}
_HELD: JsonObject = {
    "held": _by_object(COUNT) | {"description": "Rows that may be outdated, by object; absent while there are none."},
    "heldSince": TIME | {"description": "When the first of them was held."},
}
_SYNC: JsonObject = {
    "cursor": {"type": "string", "description": "On the last page."},
    "next": {"type": "string", "description": "Address of the next page, on all others."},
    "complete": {"type": "boolean"},
    "exact": {"type": "boolean"},
    "asOf": TIME,
    "published": TIME,
    "nextExpected": {"type": "integer", "description": "Seconds until asking again is worth it."},
    "mode": {"const": "replace"},
    **_HELD,
    "counts": _by_object(COUNT),
    "digest": _by_object(DIGEST),
}
_SYNC_ALWAYS = ["complete", "exact", "nextExpected", "counts", "digest"]
_TERRITORY: JsonObject = {
    "id": TEXT,
    "name": {"type": ["string", "null"]},
    "cursor": {"type": "string", "description": "The territory's newest view."},
    "publishedSeq": COUNT,
    "touchedSeq": {"type": "integer", "description": "The newest publication that changed the view."},
    "counts": _by_object(COUNT),
    "digest": _by_object(DIGEST),
    "delta": {"type": "string", "description": "Address of the delta."},
    **_HELD,
}
_BOUNDS: JsonObject = {
    "fromSeq": COUNT,
    "toSeq": {"type": ["integer", "null"], "description": "The publication that ended it; null while it holds."},
    "from": TIME_OR_NULL,
    "to": TIME_OR_NULL,
}
_EXPLANATION: JsonObject = {
    "territory": TEXT,
    "object": TEXT,
    "rowId": TEXT,
    "visible": {"type": "boolean"},
    "why": {"type": "string", "description": "A sentence for people."},
    "publishedSeq": COUNT,
    "horizonSeq": {"type": "integer", "description": "Where history begins."},
    "mergedInto": {"type": ["string", "null"]},
    "seenBy": {"type": "array", "items": TEXT, "description": "Territories that see the row now."},
    "intervals": {"type": "array", "items": _strict(_BOUNDS), "description": "When the territory saw the row."},
    "versions": {"type": "array", "items": _strict(_BOUNDS | {"version": DIGEST, "bodyKept": {"type": "boolean"}})},
}
_PROBLEM: JsonObject = {
    "type": TEXT,
    "title": TEXT,
    "status": {"type": "integer"},
    "code": {"type": "string", "description": "Stable, for programs."},
    "detail": {"type": "string", "description": "A sentence for people."},
    "action": {"enum": ["reconcile", "snapshot", "restart", "retry"]},
    "links": _by_object(TEXT),
    "requestId": TEXT,
}
