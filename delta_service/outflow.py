"""Large answers on their way: how much memory their readers, however slow, can hold."""

from __future__ import annotations

from collections import Counter

from delta_service.problems import rate_limited

MAX_BYTES = 512 * 2**20
# What one reader holds: the server's buffers and the next piece, of a finished body or of a stream being made.
READER_BYTES = 256 * 2**10
STREAM_READER_BYTES = 2 * 2**20


class Outflow:
    """Counts readers, and bodies, each once for all who are being sent it."""

    def __init__(self) -> None:
        self._bytes = 0
        self._readers: Counter[int] = Counter()

    def begin(self, body: bytes) -> None:
        """It (empty: a stream) is about to be sent to one more reader. Raises 429 where that would be too much."""
        reader = _reader_bytes(body)
        # A body stays the same object as long as anybody is being sent it.
        first = len(body) if id(body) not in self._readers else 0
        if self._bytes and self._bytes + reader + first > MAX_BYTES:
            raise rate_limited("Too many devices take large answers at once. Ask again later.")
        self._bytes += reader + first
        self._readers[id(body)] += 1

    def end(self, body: bytes) -> None:
        """One reader has most of it, or is gone."""
        self._bytes -= _reader_bytes(body)
        self._readers[id(body)] -= 1
        if not self._readers[id(body)]:
            del self._readers[id(body)]
            self._bytes -= len(body)


def _reader_bytes(body: bytes) -> int:
    return READER_BYTES if body else STREAM_READER_BYTES
