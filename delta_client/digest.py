"""Versions, digests and buckets of rows: section 6 of the API's contract, over texts exactly as served."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

BUCKETS = 256
MODULUS = 2**64


def version_of(text: str) -> str:
    """A row's ``_v``: 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def part_of(name: str, row_id: str, version: str) -> int:
    """A row's part in the digest of its object: an unsigned 64-bit number."""
    return int.from_bytes(hashlib.sha256(f"{name}|{row_id}|{version}".encode()).digest()[:8], "big")


def bucket_of(row_id: str) -> int:
    """A row's place among 256."""
    return hashlib.sha256(row_id.encode()).digest()[0]


def digest_of(name: str, rows: Iterable[tuple[str, str]]) -> str:
    """The digest of an object from its rows, as (id, text): 16 hex digits."""
    return _hex(sum(part_of(name, row_id, version_of(text)) for row_id, text in rows))


def bucket_digests(name: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """The digests of an object's 256 buckets."""
    sums = [0] * BUCKETS
    for row_id, text in rows:
        sums[bucket_of(row_id)] += part_of(name, row_id, version_of(text))
    return [_hex(total) for total in sums]


def _hex(total: int) -> str:
    return f"{total % MODULUS:016x}"
