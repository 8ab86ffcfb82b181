"""Streams cut into pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

ROWS_PER_BATCH = 2_000

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int = ROWS_PER_BATCH) -> Iterator[list[Item]]:
    """Lists of up to ``size`` items, in order."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
