"""Who may read what: bearer tokens, verified once and remembered for a short time."""

from __future__ import annotations

import ipaddress
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import jwt

from delta_service.callers import UNLIMITED, Caller, Callers, Refusals
from delta_service.keys import KeyRing
from delta_service.problems import unauthorized
from delta_service.settings import ServiceSettings

log = logging.getLogger(__name__)

LEEWAY_SECONDS = 30
# How long a verified token is believed without looking again: the delay of a withdrawn key.
REMEMBER_SECONDS = 60
REMEMBERED_TOKENS = 20_000
MAX_TOKEN_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    territories: frozenset[str] | None
    """Ids or names; None (without a token, in insecure development only) stands for all."""
    admin: bool = False
    caller: Caller = field(default=UNLIMITED, compare=False)


INSECURE_CLAIMS = Claims(None, admin=True)


class Authenticator:
    """Turns ``Authorization`` headers into claims."""

    def __init__(self, settings: ServiceSettings, keys: KeyRing) -> None:
        self._audience = settings.jwt_audience
        self._insecure_dev = settings.insecure_dev
        self._keys = keys
        self._callers = Callers(settings)
        self._refusals = Refusals(settings)
        self._key_generation = keys.generation
        self._remembered: dict[bytes, tuple[Claims, float]] = {}

    async def authenticate(self, authorization: bytes | None, client: tuple[str, int] | None) -> Claims:
        """Raises the 401 problem, which tells the caller nothing more (the log has the reason), and 429."""
        if authorization is None:
            if self._insecure_dev and _is_loopback(client):
                return INSECURE_CLAIMS
            raise unauthorized(token_given=False)
        known = self.remembered(authorization)
        if known is not None:
            known.caller.admit()
            return known
        self._refusals.admit(client)
        try:
            claims, expires = await self._verify(authorization)
        except (jwt.PyJWTError, ValueError) as error:
            log.info("token refused: %s", type(error).__name__)
            self._refusals.note(client)
            raise unauthorized(token_given=True) from None
        self._remember(authorization, claims, expires)
        claims.caller.admit()
        return claims

    def remembered(self, authorization: bytes) -> Claims | None:
        """What a token says that was verified a short time ago; the request is not counted."""
        if self._key_generation != self._keys.generation:
            self._remembered.clear()
            self._key_generation = self._keys.generation
        known = self._remembered.get(authorization)
        return known[0] if known is not None and known[1] > time.time() else None

    async def _verify(self, authorization: bytes) -> tuple[Claims, float]:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or len(token) > MAX_TOKEN_BYTES:
            raise ValueError("not a bearer token")
        header = jwt.get_unverified_header(token.strip())
        key = await self._keys.key_for(str(header.get("alg")), header.get("kid"))
        if key is None:
            raise jwt.InvalidKeyError("no key for this token")
        content: dict[str, Any] = jwt.decode(
            token.strip(),
            key.key,
            algorithms=[key.algorithm],
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "aud"]},
        )
        territories = content.get("territories")
        if not isinstance(territories, list) or not all(isinstance(name, str) for name in territories):
            raise jwt.InvalidTokenError("the claim territories is not a list of strings")
        caller = self._callers.of(content.get("sub"))
        return Claims(frozenset(territories), content.get("admin") is True, caller), float(content["exp"])

    def _remember(self, authorization: bytes, claims: Claims, expires: float) -> None:
        self._remembered.pop(authorization, None)
        while len(self._remembered) >= REMEMBERED_TOKENS:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[authorization] = (claims, min(expires + LEEWAY_SECONDS, time.time() + REMEMBER_SECONDS))


def _is_loopback(client: tuple[str, int] | None) -> bool:
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def mint(
    secret: bytes, audience: str, territories: list[str], *, days: int, admin: bool, subject: str | None = None
) -> str:
    """A development token, HS256; without a subject it is bound by no caller's limits."""
    now = int(time.time())
    claims = {"aud": audience, "iat": now, "nbf": now, "exp": now + days * 86_400, "territories": territories}
    claims |= ({"admin": True} if admin else {}) | ({"sub": subject} if subject else {})
    return jwt.encode(claims, secret, algorithm="HS256")
