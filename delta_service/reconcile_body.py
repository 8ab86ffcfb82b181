"""What devices post to ``reconcile``: bucket digests in the first round, rows with their versions in the second."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from delta_service.buckets import BUCKET_COUNT
from delta_service.cursor import MAX_TOKEN_CHARACTERS
from delta_service.problems import bad_request

# Some 100,000 rows: more than a territory has. A device with more asks for some of the buckets at a time.
MAX_BODY_BYTES = 4 * 2**20

CursorText = Annotated[str, Field(max_length=MAX_TOKEN_CHARACTERS)]
ObjectName = Annotated[str, Field(min_length=1, max_length=100)]
RowId = Annotated[str, Field(min_length=1, max_length=200)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
# Empty: the device has the row but cannot tell its version.
Version = Annotated[str, Field(pattern="^([0-9a-f]{16})?$")]
Bucket = Annotated[int, Field(ge=0, lt=BUCKET_COUNT)]


class Comparison(BaseModel):
    """First round: the digests of what the device holds, object by object, bucket by bucket."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    cursor: CursorText | None = Field(None, description="The view to compare with; the newest if it cannot be had.")
    buckets: dict[ObjectName, Annotated[list[Digest], Field(min_length=BUCKET_COUNT, max_length=BUCKET_COUNT)]] = Field(
        min_length=1, description="Object to 256 digests. Objects that are left out are not compared."
    )


class Repair(BaseModel):
    """Second round: the rows that the device holds in the buckets that differ."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    cursor: CursorText = Field(description="From the answer of the first round.")
    differing: dict[ObjectName, Annotated[list[Bucket], Field(max_length=BUCKET_COUNT)]] = Field(
        description="From the answer of the first round, or a part of it."
    )
    versions: dict[ObjectName, dict[RowId, Version]] = Field(
        description="Object to row id to `_v`, of all rows in these buckets; empty where the version is not known."
    )


_BODY: TypeAdapter[Comparison | Repair] = TypeAdapter(Comparison | Repair)
_NAMES = {*Comparison.model_fields, *Repair.model_fields}


def parse_body(content: bytes) -> Comparison | Repair:
    """Raises the 400 problem, which names the member that is wrong and repeats nothing of what was sent."""
    try:
        return _BODY.validate_json(content)
    except ValidationError as error:
        named = {part for fault in error.errors() for part in fault["loc"] if part in _NAMES}
        where = f" Look at {', '.join(sorted(map(str, named)))}." if named else ""
        raise bad_request("body-invalid", f"The body is none of the two that reconcile takes.{where}") from None


def body_schemas() -> dict[str, dict[str, object]]:
    """JSON Schemas of the two bodies, by name."""
    return {model.__name__: model.model_json_schema() for model in (Comparison, Repair)}
