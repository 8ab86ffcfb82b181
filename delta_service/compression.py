"""Content codings: zstd and gzip, where the caller takes them and the body is worth it."""

from __future__ import annotations

import sys
import zlib
from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Below it a coding saves nothing that fits a packet less.
MIN_BYTES = 1_024
# Small answers are made for one device, large ones for all of a territory.
LARGE_BYTES = 262_144
GZIP_LEVEL, GZIP_LEVEL_LARGE = 1, 6
ZSTD_LEVEL = 3
_GZIP_WINDOW = 31


@lru_cache(maxsize=256)
def chosen_coding(accept_encoding: bytes) -> str | None:
    """The coding the caller likes best of ours (zstd before gzip at equal weight), or None.

    ``*`` gets gzip: many who say that they take anything cannot read zstd.
    """
    weights: dict[str, float] = {}
    for item in accept_encoding.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        weights[name] = weight
    offered = {"zstd": weights.get("zstd", 0.0), "gzip": weights.get("gzip", weights.get("*", 0.0))}
    best = max(offered, key=lambda name: offered[name])
    return best if offered[best] > 0 else None


def compress(body: bytes, coding: str | None) -> tuple[bytes, str | None]:
    """The body as sent, and its coding."""
    if coding is None or len(body) < MIN_BYTES:
        return body, None
    if coding == "zstd":
        return zstd.compress(body, ZSTD_LEVEL), coding
    level = GZIP_LEVEL_LARGE if len(body) >= LARGE_BYTES else GZIP_LEVEL
    return zlib.compress(body, level, _GZIP_WINDOW), coding


async def compress_stream(pieces: AsyncGenerator[bytes, None], coding: str | None) -> AsyncGenerator[bytes, None]:
    """Pieces as sent; each can be read by the device as soon as it is there."""
    if coding is None:
        async for piece in pieces:
            yield piece
        return
    compressor: Any
    if coding == "zstd":
        compressor = zstd.ZstdCompressor(ZSTD_LEVEL)
        flush_piece = (compressor.FLUSH_BLOCK,)
    else:
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        flush_piece = (zlib.Z_SYNC_FLUSH,)
    async for piece in pieces:
        yield compressor.compress(piece) + compressor.flush(*flush_piece)
    yield compressor.flush()
