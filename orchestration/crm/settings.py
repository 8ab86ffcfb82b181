"""How to reach the CRM: read from the environment, checked before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from orchestration.crm.errors import ConfigurationError

SHIPPED_WSDL_DIR = Path(__file__).with_name("wsdl")
MAX_SESSIONS = 8
_DEFAULT_PATH = "/Services/Integration"


class AuthMode(StrEnum):
    """``stateless``: WS-Security on each request. ``session``: log in, then a JSESSIONID cookie."""

    STATELESS = "stateless"
    SESSION = "session"


@dataclass(frozen=True)
class CrmSettings:
    """``url`` is the full SOAP endpoint; ``sessions`` is how many requests may run in parallel (1 to 8);
    ``operations_budget`` is the number of CRM operations one client may spend, None for no limit."""

    url: str
    username: str
    password: str = field(repr=False)
    wsdl_dir: Path = SHIPPED_WSDL_DIR
    sessions: int = 4
    operations_budget: int | None = None
    auth: AuthMode = AuthMode.STATELESS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> CrmSettings:
        """Read ``CRMOD_*``. Raises :class:`ConfigurationError` naming the variable at fault."""

        def required(name: str) -> str:
            value = environment.get(name, "")
            if not value.strip():
                raise ConfigurationError(f"{name} is not set")
            return value

        def number(name: str, low: int, high: int | None) -> int | None:
            text = environment.get(name, "").strip()
            if not text:
                return None
            bounds = f"from {low} to {high}" if high is not None else f"of at least {low}"
            if not (text.isascii() and text.isdigit()) or int(text) < low or (high is not None and int(text) > high):
                raise ConfigurationError(f"{name} must be a whole number {bounds}")
            return int(text)

        url, username, password = (required(f"CRMOD_{name}") for name in ("URL", "USERNAME", "PASSWORD"))
        wsdl_dir = Path(environment.get("CRMOD_WSDL_DIR", "").strip() or SHIPPED_WSDL_DIR)
        if not wsdl_dir.is_dir():
            raise ConfigurationError(f"CRMOD_WSDL_DIR: {wsdl_dir} is not a directory")
        auth = environment.get("CRMOD_AUTH", "").strip().lower() or AuthMode.STATELESS
        if auth not in set(AuthMode):
            raise ConfigurationError("CRMOD_AUTH must be `stateless` or `session`")
        return cls(
            url=_endpoint(url),
            username=username.strip(),
            password=password,
            wsdl_dir=wsdl_dir,
            sessions=number("CRMOD_SESSIONS", 1, MAX_SESSIONS) or 4,
            operations_budget=number("CRMOD_OPERATIONS_BUDGET", 1, None),
            auth=AuthMode(auth),
        )


def _endpoint(text: str) -> str:
    """A host, ``host:port`` or URL to the full endpoint; https unless the text says otherwise."""
    text = text.strip()
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "CRMOD_URL must be the CRM's host name or the http(s) address of its Integration endpoint, "
            "without user name, query or fragment"
        )
    path = parts.path if parts.path.strip("/") else _DEFAULT_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
