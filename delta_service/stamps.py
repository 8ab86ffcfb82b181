"""Times that the service gives, made so that each names its own publication when a device sends it back.

Two publications may share a second, and what is known of the CRM moves on without any. So below the milliseconds a
stamp has six digits that only this store gives to this publication: a time from another clock does not have them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from delta_service.store.views import StoreState

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})(\d{6})Z")
MILLISECOND = timedelta(milliseconds=1)


class StampKind(StrEnum):
    """Which of the two headers a stamp is from."""

    AS_OF = "as-of"
    PUBLISHED = "published"


class Stamp(NamedTuple):
    """A time in the form of a stamp; whether it is one is known when its publication has been found."""

    time: datetime
    """Whole milliseconds."""
    check: str

    def names(self, kind: StampKind, seq: int, state: StoreState) -> bool:
        """Whether the service gave it with this publication."""
        return hmac.compare_digest(self.check, _check(kind, self.time, seq, state.epoch, state.cursor_key))


def stamp_of(kind: StampKind, time: datetime, seq: int, state: StoreState) -> str:
    """RFC 3339, rounded down to the millisecond: the answer never claims to know more than it does."""
    return _text(kind, time, seq, state.epoch, state.cursor_key)


def parse_stamp(text: str) -> Stamp | None:
    """None for what does not look like a stamp."""
    found = _STAMP.fullmatch(text)
    if found is None:
        return None
    try:
        return Stamp(datetime.fromisoformat(found[1]).replace(tzinfo=UTC), found[2])
    except ValueError:
        return None


def named_publication(stamp: Stamp, candidates: Callable[[StampKind], list[int]], state: StoreState) -> int | None:
    """The publication a stamp names, or None of a time that is no stamp of this history."""
    for kind in StampKind:
        for seq in candidates(kind):
            if stamp.names(kind, seq, state):
                return seq
    return None


@lru_cache(maxsize=256)
def _text(kind: StampKind, time: datetime, seq: int, epoch: str, key: bytes) -> str:
    time = time.astimezone(UTC)
    time -= timedelta(microseconds=time.microsecond % 1_000)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1_000:03}{_check(kind, time, seq, epoch, key)}Z"


def _check(kind: StampKind, time: datetime, seq: int, epoch: str, key: bytes) -> str:
    content = f"{kind} {epoch} {seq} {time:%Y-%m-%dT%H:%M:%S.%f}"
    number = int.from_bytes(hmac.digest(key, content.encode(), "sha256")[:8])
    # Never 000000: clocks that tell milliseconds write that.
    return f"{number % 999_999 + 1:06}"
