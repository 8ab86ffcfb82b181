"""Histories that several tests publish, and cursors into them."""

from __future__ import annotations

from delta_service.cursor import Anchor, Cursor
from tests.delta_service.conftest import A1, A2, C1, world
from tests.delta_service.model import IDENTITY, World

# A1's content changes, changes back, and changes again; A2 leaves the north and returns; C1 comes and goes.
SEEN_BY_NORTH = [
    ({A1: 1, A2: 1}, [A1, A2]),
    ({A1: 2, A2: 1}, [A1, A2]),
    ({A1: 1, A2: 1, C1: 1}, [A1, C1]),
    ({A1: 1, A2: 1, C1: 1}, [A1, C1]),
    ({A1: 3, A2: 2}, [A1, A2]),
]
HISTORY = [World(), *(world(contents, {"T-NORTH": north, "T-SOUTH": [A2]}) for contents, north in SEEN_BY_NORTH)]
NEWEST_SEQ = len(SEEN_BY_NORTH)


def cursor_at(seq: int, *scope: str, epoch: str = IDENTITY.epoch, key: bytes = IDENTITY.cursor_key) -> str:
    """As the service issues it; without ``scope``, for the north."""
    return Cursor(epoch, (Anchor(scope or ("T-NORTH",), seq, None),)).encode(key)


def history_with_large_row(size_bytes: int) -> list[World]:
    """One publication: a row of more than ``size_bytes``, which the north sees, and a small one that all see."""
    return [World(), world({A1: "x" * size_bytes, A2: 1}, {"T-NORTH": [A1, A2], "T-SOUTH": [A2]})]
