"""The ``Sync-...`` facts of an answer: headers, and the same again as the envelope and the NDJSON trailer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from delta_service.answers import Headers
from delta_service.store.views import HeldRows, Total


@dataclass(frozen=True, slots=True)
class SyncFacts:
    """What an answer says about itself. ``cursor`` is there on the last page, ``next_link`` on all others."""

    as_of: str | None
    published: str | None
    """Stamps; None where the publication is no longer kept."""
    exact: bool
    replaces: bool
    poll_seconds: int
    objects: tuple[str, ...]
    totals: tuple[Total, ...]
    """Of the whole view, object by object."""
    cursor: str | None = None
    next_link: str | None = None
    held: Mapping[str, HeldRows] = field(default_factory=dict)
    """What is held of the scope now, whichever view is asked about, by object."""

    def headers(self) -> Headers:
        counts = ", ".join(f"{name}={total.rows}" for name, total in self._named())
        digests = ", ".join(f"{name}={total.digest:016x}" for name, total in self._named())
        headers = [
            *self._streamed_headers(),
            (b"sync-counts", counts.encode()),
            (b"sync-digest", digests.encode()),
            (b"sync-complete", b"false" if self.next_link else b"true"),
        ]
        if self.cursor is not None:
            headers.append((b"sync-cursor", self.cursor.encode()))
        if self.next_link is not None:
            headers.append((b"link", f'<{self.next_link}>; rel="next"'.encode()))
        return headers

    def streamed_headers(self) -> Headers:
        """Of a stream whose end is not known yet: what remains is in its trailer."""
        return list(self._streamed_headers())

    def members(self) -> dict[str, object]:
        """The same as JSON members."""
        members: dict[str, object] = {
            "complete": self.next_link is None,
            "exact": self.exact,
            "nextExpected": self.poll_seconds,
            "counts": {name: total.rows for name, total in self._named()},
            "digest": {name: f"{total.digest:016x}" for name, total in self._named()},
        }
        if self.cursor is not None:
            members["cursor"] = self.cursor
        if self.next_link is not None:
            members["next"] = self.next_link
        if self.as_of is not None and self.published is not None:
            members |= {"asOf": self.as_of, "published": self.published}
        if self.replaces:
            members["mode"] = "replace"
        return members | held_members(self._held())

    def _named(self) -> Iterable[tuple[str, Total]]:
        return zip(self.objects, self.totals, strict=True)

    def _held(self) -> dict[str, HeldRows]:
        return {name: self.held[name] for name in self.objects if name in self.held}

    def _streamed_headers(self) -> Iterable[tuple[bytes, bytes]]:
        yield b"sync-exact", b"true" if self.exact else b"false"
        yield b"sync-next-expected", b"%d" % self.poll_seconds
        if self.as_of is not None and self.published is not None:
            yield b"sync-as-of", self.as_of.encode()
            yield b"sync-published", self.published.encode()
        if self.replaces:
            yield b"sync-mode", b"replace"
        if held := self._held():
            yield b"sync-held", ", ".join(f"{name}={one.rows}" for name, one in held.items()).encode()
            yield b"sync-held-since", utc_second(_since(held)).encode()


def held_members(held: Mapping[str, HeldRows]) -> dict[str, object]:
    """As JSON members; none while nothing is held."""
    if not held:
        return {}
    return {"held": {name: one.rows for name, one in held.items()}, "heldSince": utc_second(_since(held))}


def _since(held: Mapping[str, HeldRows]) -> datetime:
    return min(one.since for one in held.values())


@lru_cache(maxsize=64)
def utc_second(time: datetime) -> str:
    """Rounded down: the answer never claims to know more than it does."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
