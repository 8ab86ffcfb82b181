"""A view cut into 256 buckets by row id, so that a difference is found without naming every row."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable

from delta_service.store.views import Content

BUCKET_COUNT = 256
MODULUS = 2**64

BucketDigests = tuple["array[int]", ...]
"""Per object of the store, in order, the 256 digests as unsigned 64-bit numbers."""


def bucket_of(row_id: str) -> int:
    """First byte of SHA-256 of the row id."""
    return hashlib.sha256(row_id.encode()).digest()[0]


def bucket_digests(contents: Iterable[Content], object_count: int) -> BucketDigests:
    """The digest of each bucket: the sum of its rows' digests modulo 2^64."""
    sums = [[0] * BUCKET_COUNT for _ in range(object_count)]
    for content in contents:
        sums[content.object][bucket_of(content.row_id)] += content.digest
    return tuple(array("Q", (total % MODULUS for total in totals)) for totals in sums)


def as_text(digests: Iterable[int]) -> list[str]:
    """Each as 16 hex digits."""
    return [f"{digest:016x}" for digest in digests]
