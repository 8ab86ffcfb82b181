"""What an operator may set: by environment, or by the command line which sets the environment of the workers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from delta_service.store.engine import StoreLocation, location_of

MIN_SECRET_BYTES = 32
INSECURE_DEV_VARIABLE = "DELTA_INSECURE_DEV"


class SettingsError(ValueError):
    """A setting cannot be used; the message names the variable, never a secret."""


@dataclass(frozen=True)
class ServiceSettings:
    delta_home: Path
    store_url: str | None = field(default=None, repr=False)
    """A PostgreSQL store; None for the SQLite file in ``delta_home``."""
    jwt_secret: bytes | None = field(default=None, repr=False)
    """HS256 key, at least 32 bytes."""
    jwks: str | None = None
    """File path or https URL of a JSON Web Key Set."""
    jwt_audience: str = "territory-delta"
    insecure_dev: bool = False
    """Loopback callers without a token see everything."""
    poll_seconds: int = 30
    """What ``Sync-Next-Expected`` says: the rhythm of publications."""
    snapshots_per_second: int = 50
    """First syncs that one process builds; ready-made ones do not count."""
    reconciles_per_second: int = 20
    """Comparisons and repairs that one process works on; each reads a whole view."""
    caller_requests_per_second: int = 100
    """Of one token subject, on average; ten seconds' worth at once."""
    caller_waits: int = 20
    """Long polls and listeners of one token subject at once."""
    refusals_per_second: int = 50
    """Invalid tokens from one address that are still looked at; ten seconds' worth at once."""
    connections: int = 20_000
    """That one process has at once; three quarters of them may wait for a change."""
    stall_seconds: int = 30
    """A reader that takes less than 64 KiB of a large answer in so long is cut off."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-For`` is believed."""

    @property
    def max_waiting(self) -> int:
        """Long polls and listeners at once: ordinary polls need connections too."""
        return self.connections * 3 // 4

    @property
    def store_location(self) -> StoreLocation:
        try:
            return location_of(self.store_url, self.delta_home / "delta.sqlite")
        except ValueError as error:
            raise SettingsError(str(error)) from None

    @classmethod
    def from_environment(cls) -> ServiceSettings:
        """Raises :class:`SettingsError`, also where there is neither a key nor ``--insecure-dev``."""
        secret = (os.environ.get("DELTA_JWT_SECRET") or "").encode() or None
        if secret is not None and len(secret) < MIN_SECRET_BYTES:
            raise SettingsError(f"DELTA_JWT_SECRET needs at least {MIN_SECRET_BYTES} bytes")
        settings = cls(
            delta_home=_home(os.environ.get("DELTA_HOME") or ".delta"),
            store_url=os.environ.get("DELTA_STORE_URL") or None,
            jwt_secret=secret,
            jwks=os.environ.get("DELTA_JWKS") or None,
            jwt_audience=os.environ.get("DELTA_JWT_AUDIENCE") or cls.jwt_audience,
            insecure_dev=os.environ.get(INSECURE_DEV_VARIABLE) == "1",
            poll_seconds=_number("DELTA_POLL_SECONDS", cls.poll_seconds),
            snapshots_per_second=_number("DELTA_SNAPSHOTS_PER_SECOND", cls.snapshots_per_second),
            reconciles_per_second=_number("DELTA_RECONCILES_PER_SECOND", cls.reconciles_per_second),
            caller_requests_per_second=_number("DELTA_CALLER_REQUESTS_PER_SECOND", cls.caller_requests_per_second),
            caller_waits=_number("DELTA_CALLER_WAITS", cls.caller_waits),
            refusals_per_second=_number("DELTA_REFUSALS_PER_SECOND", cls.refusals_per_second),
            connections=_number("DELTA_CONNECTIONS", cls.connections),
            stall_seconds=_number("DELTA_STALL_SECONDS", cls.stall_seconds),
            trusted_proxies=tuple((os.environ.get("DELTA_TRUSTED_PROXIES") or "").replace(",", " ").split()),
        )
        if not (settings.jwt_secret or settings.jwks or settings.insecure_dev):
            raise SettingsError("set DELTA_JWT_SECRET or DELTA_JWKS (or start with --insecure-dev on this machine)")
        settings.store_location  # noqa: B018 - raises where the URL is of no use
        return settings


def _home(text: str) -> Path:
    path = Path(text).absolute()
    if "?" in str(path):
        # DuckDB takes what follows for options, and writes elsewhere.
        raise SettingsError(f"DELTA_HOME={str(path)!r} has a '?' in it, which DuckDB cannot use: choose another folder")
    return path


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise SettingsError(f"{variable}={text!r} is not a whole number from 1 to 100000")
    return int(text)
