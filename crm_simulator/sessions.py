"""Who may call, and how often: tokens, login sessions, the pool of stateless sessions, and the rate limit."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from crm_simulator.faults import FrontEndFault, missing_token, rejected_token, too_fast
from crm_simulator.limits import Limits
from crm_simulator.soap import Credentials

POOLED_SESSIONS = 10


class LoginError(Exception):
    """Why a login failed, as the CRM says it."""


@dataclass
class Session:
    """``opens`` says whether its id alone lets a request in. ``last_request`` is in seconds of a steady clock."""

    id: str
    opens: bool
    last_used: datetime
    last_request: float = float("-inf")


class Sessions:
    """Sessions of the one user this CRM has; times out by the CRM's clock, limits rates by a steady one."""

    def __init__(
        self,
        credentials: Credentials,
        now: Callable[[], datetime],
        limits: Limits,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._limits = limits
        self._steady = steady
        self._sessions: dict[str, Session] = {}
        self._pool: list[Session] = []

    def login(self, credentials: Credentials) -> str:
        """A new session's id. Raises :class:`LoginError`."""
        self._forget_idle()
        if not self._valid(credentials):
            raise LoginError("The user ID or password that you entered is incorrect. (SBL-ODU-01006)")
        if sum(session.opens for session in self._sessions.values()) >= self._limits.login_sessions:
            raise LoginError("The maximum number of concurrent sessions was reached. (SBL-ODU-01006)")
        return self._start(opens=True).id

    def logoff(self, session_id: str | None) -> None:
        session = self._sessions.pop(session_id or "", None)
        if session in self._pool:
            self._pool.remove(session)

    def end_all(self) -> int:
        """Forget every session, as a restarted server does; says how many there were."""
        ended = len(self._sessions)
        self._sessions.clear()
        self._pool.clear()
        return ended

    def admit(self, credentials: Credentials | None, session_id: str | None, keep: bool) -> Session:
        """The session a request runs in. Raises :class:`SecurityFault` or :class:`FrontEndFault`."""
        self._forget_idle()
        known = self._sessions.get(session_id or "")
        if credentials is None:
            if session_id is None:
                raise missing_token()
            if known is None or not known.opens:
                raise FrontEndFault("SBL-ODU-01006", "Session is not available. Please log in again.")
            session = known
        elif not self._valid(credentials):
            raise rejected_token()
        else:
            session = known or self._pooled()
            session.opens = session.opens or keep
        self._limit_rate(session)
        session.last_used = self._now()
        return session

    def _valid(self, credentials: Credentials) -> bool:
        given = f"{credentials.username}\0{credentials.password}".encode()
        return hmac.compare_digest(given, f"{self._credentials.username}\0{self._credentials.password}".encode())

    def _pooled(self) -> Session:
        """A session without a client of its own: a new one while there is room, then the one longest unused."""
        if len(self._pool) < POOLED_SESSIONS:
            session = self._start(opens=False)
            self._pool.append(session)
            return session
        return min(self._pool, key=lambda session: session.last_request)

    def _start(self, opens: bool) -> Session:
        session = Session(f"{secrets.token_hex(16)}.sim1", opens, self._now())
        self._sessions[session.id] = session
        return session

    def _limit_rate(self, session: Session) -> None:
        now = self._steady()
        wait_ms = self._limits.min_interval_ms - (now - session.last_request) * 1000
        if wait_ms > 0:
            whole_ms = max(1, round(wait_ms + 0.5))
            raise too_fast(whole_ms)
        session.last_request = now

    def _forget_idle(self) -> None:
        bound = self._now() - timedelta(seconds=self._limits.idle_seconds)
        for session in [session for session in self._sessions.values() if session.last_used < bound]:
            self.logoff(session.id)
