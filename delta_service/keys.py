"""Keys that tokens are verified with. Each kind of key goes with one algorithm: a token cannot choose."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import orjson

from delta_service.settings import ServiceSettings, SettingsError

log = logging.getLogger(__name__)

# kty and curve of a JWK to the only algorithm it may be used with. Symmetric keys have no place in a key set.
JWK_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}
FETCH_TIMEOUT_SECONDS = 10
# A key set is read again this often, so that a withdrawn key stops working ...
RELOAD_SECONDS = 300
# ... and for a key id not known, but no more often than this: anybody can invent key ids.
RELOAD_UNKNOWN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """A key object with the one algorithm it is used with."""

    algorithm: str
    key: Any = field(repr=False)


class KeyRing:
    """The shared secret and the key set, whichever are configured."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._secret = PinnedKey("HS256", settings.jwt_secret) if settings.jwt_secret else None
        self._jwks = settings.jwks
        self._set: dict[str | None, PinnedKey] = {}
        self._loaded_at = float("-inf")
        self._loading = asyncio.Lock()
        self.generation = 0
        """Rises when the key set changes: what older keys have verified is void."""

    async def load(self) -> None:
        """Read the key set for the first time. Raises SettingsError."""
        if self._jwks is not None:
            try:
                await self._reload()
            except (OSError, ValueError, httpx.HTTPError) as error:
                raise SettingsError(f"DELTA_JWKS cannot be read: {error}") from error

    async def key_for(self, algorithm: str, key_id: str | None) -> PinnedKey | None:
        """The key for a token's header, or None; never one of another algorithm."""
        if self._secret is not None and algorithm == self._secret.algorithm:
            return self._secret
        if self._jwks is None or algorithm not in JWK_ALGORITHMS.values():
            return None
        key = self._find(key_id)
        age_seconds = time.monotonic() - self._loaded_at
        if age_seconds > (RELOAD_SECONDS if key else RELOAD_UNKNOWN_SECONDS):
            try:
                await self._reload()
            except (OSError, ValueError, httpx.HTTPError):
                log.warning("the key set cannot be read again; the keys known so far stay valid", exc_info=True)
            key = self._find(key_id)
        return key if key is not None and key.algorithm == algorithm else None

    def _find(self, key_id: str | None) -> PinnedKey | None:
        if key_id is None and len(self._set) == 1:
            return next(iter(self._set.values()))
        return self._set.get(key_id)

    async def _reload(self) -> None:
        assert self._jwks is not None
        asked_at = time.monotonic()
        async with self._loading:
            if self._loaded_at >= asked_at:
                return
            self._loaded_at = time.monotonic()
            if self._jwks.startswith(("https://", "http://")):
                async with httpx.AsyncClient(timeout=FETCH_TIMEOUT_SECONDS) as client:
                    response = await client.get(self._jwks)
                    response.raise_for_status()
                    document = response.content
            else:
                document = await asyncio.to_thread(Path(self._jwks).read_bytes)
            keys = _parse(document)
            if keys.keys() != self._set.keys():
                self.generation += 1
            self._set = keys


def _parse(document: bytes) -> dict[str | None, PinnedKey]:
    """Usable keys by id. Raises ValueError where there are none."""
    parsed = orjson.loads(document)
    if not isinstance(parsed, dict):
        raise ValueError("the key set is not a JSON object")
    keys: dict[str | None, PinnedKey] = {}
    for jwk in parsed.get("keys", []):
        algorithm = JWK_ALGORITHMS.get((jwk.get("kty"), jwk.get("crv")))
        if algorithm is not None and jwk.get("use", "sig") == "sig" and jwk.get("alg", algorithm) == algorithm:
            keys[jwk.get("kid")] = PinnedKey(algorithm, jwt.PyJWK(jwk, algorithm).key)
    if not keys:
        raise ValueError("the key set has no RSA or P-256 key for signatures")
    return keys
