"""Streams cut into pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

ROWS_PER_BATCH = 2_000

Item = TypeVar("Item")


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Lists of up to ROWS_PER_BATCH items, in order."""
    iterator = iter(items)
    while batch := list(islice(iterator, ROWS_PER_BATCH)):
        yield batch
