"""The sessions that one client has with the CRM: each request takes one that is free."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import TypeVar

from lxml import etree

from orchestration.crm.pacing import Meter
from orchestration.crm.requests import Request
from orchestration.crm.session import CredentialGate, CrmSession, Effort, Sleep
from orchestration.crm.settings import CrmSettings
from orchestration.crm.transport import Reply

T = TypeVar("T")


class SessionPool:
    """As many sessions as the settings allow. Thread-safe: whoever finds none free waits for one."""

    def __init__(self, settings: CrmSettings, meter: Meter, sleep: Sleep) -> None:
        gate = CredentialGate()
        self._sessions = [CrmSession(settings, gate, meter, sleep) for _ in range(settings.sessions)]
        # Last in, first out: what one session can do is done by one, so fewer pooled sessions are taken at the CRM.
        self._free: queue.LifoQueue[CrmSession] = queue.LifoQueue()
        for session in self._sessions:
            self._free.put(session)

    def call(self, request: Request, read: Callable[[etree._Element, Reply], T], effort: Effort = Effort.USUAL) -> T:
        """What ``read`` makes of the answer. Raises any :class:`CrmError`."""
        with self._taken() as session:
            return session.call(request, read, effort)

    def plain_get(self) -> Reply:
        """The endpoint's answer to a GET, for its headers."""
        with self._taken() as session:
            return session.plain_get()

    def close(self) -> None:
        """End all sessions. May be called twice, but not by two at once."""
        while self._sessions:
            self._sessions.pop().close()

    @contextlib.contextmanager
    def _taken(self) -> Iterator[CrmSession]:
        session = self._free.get()
        try:
            yield session
        finally:
            self._free.put(session)
