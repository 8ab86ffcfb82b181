"""One CRM session: signs, paces, sends, and decides by the fault table what to do when it goes wrong."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import quote

from lxml import etree
from zeep.exceptions import Fault as ZeepFault
from zeep.wsse.username import UsernameToken

from orchestration.crm import errors
from orchestration.crm.envelope import body_of, local_name, parse
from orchestration.crm.faults import Action, Fault, credentials_error
from orchestration.crm.pacing import Meter, Pacer
from orchestration.crm.requests import Request
from orchestration.crm.settings import AuthMode, CrmSettings
from orchestration.crm.transport import HttpSession, Reply

T = TypeVar("T")
Sleep = Callable[[float], None]
logger = logging.getLogger(__name__)


class Effort(Enum):
    """How hard one question is tried, by what its caller can do where it fails."""

    ONCE = "a damaged answer is not asked for again: the caller looks for what damages it"
    USUAL = "what is too heavy is not tried again: the caller asks for less"
    LAST = "there is nothing smaller to ask: what is too heavy is tried again with pauses"


ATTEMPTS: Mapping[Action, int] = {
    Action.RETRY_AFTER: 20,
    Action.RETRY: 5,
    Action.RETRY_SMALLER: 3,
    Action.ASK_AGAIN: 3,
    Action.LOGIN_AGAIN_ONCE: 2,
}
_OTHER_ATTEMPTS: Mapping[Effort, Mapping[Action, int]] = {
    Effort.ONCE: {Action.ASK_AGAIN: 1},
    Effort.USUAL: {},
    # As often as any passing fault: for a minute or so, the database fails small questions too.
    Effort.LAST: {Action.SHRINK: 5, Action.WITHOUT_COUNT: 5},
}
# The front end turned the request away: it is not counted as an operation.
_NEVER_RAN = {Action.RETRY_AFTER, Action.STOP, Action.LOGIN_AGAIN_ONCE, Action.BAD_CREDENTIALS}
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0
_MAX_ASKED_PAUSE_SECONDS = 60.0
_COOKIE = "JSESSIONID"


class CredentialGate:
    """Lets one request at a time through until the credentials have worked, and none once they were refused.

    Without it, parallel sessions would each fail with a wrong password, and lock the account. Thread-safe.
    """

    def __init__(self) -> None:
        self._first = threading.Lock()
        self._proven = False
        self._refused: errors.CrmCredentialsError | None = None

    @contextmanager
    def passage(self) -> Iterator[None]:
        if not self._proven:
            with self._first:
                # Those who waited here need not go one by one, too, if the first has proven the credentials.
                if not self._proven:
                    self._check()
                    yield
                    return
        self._check()
        yield

    def prove(self) -> None:
        self._proven = True

    def refuse(self, error: errors.CrmCredentialsError) -> None:
        self._refused = error

    def _check(self) -> None:
        if self._refused is not None:
            raise errors.CrmCredentialsError(str(self._refused), self._refused.codes)


class _FailedAttemptError(Exception):
    """One failed attempt: what to do, and what to raise if it cannot be helped."""

    def __init__(self, action: Action, error: errors.CrmError, wait_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.action = action
        self.error = error
        self.wait_seconds = wait_seconds


class CrmSession:
    """Used by one thread at a time; the CRM too handles the requests of a session one after another."""

    def __init__(self, settings: CrmSettings, gate: CredentialGate, meter: Meter, sleep: Sleep = time.sleep) -> None:
        self._settings = settings
        self._gate = gate
        self._meter = meter
        self._sleep = sleep
        self._pacer = Pacer(sleep)
        self._http = HttpSession(settings.url)
        self._token: Any = UsernameToken(settings.username, settings.password)  # type: ignore[no-untyped-call]

    def call(self, request: Request, read: Callable[[etree._Element, Reply], T], effort: Effort = Effort.USUAL) -> T:
        """Send, and return what ``read`` makes of the answer; damaged answers and passing faults are retried.

        Raises the :class:`~orchestration.crm.errors.CrmError` of the last failure.
        """
        attempts = {**ATTEMPTS, **_OTHER_ATTEMPTS[effort]}
        failures: Counter[Action] = Counter()
        while True:
            try:
                with self._gate.passage():
                    return self._attempt(request, read)
            except _FailedAttemptError as failure:
                failures[failure.action] += 1
                if failures[failure.action] >= attempts.get(failure.action, 1):
                    raise failure.error from failure.error.__cause__
                self._prepare_retry(failure, failures.total())

    def plain_get(self) -> Reply:
        """An answer of whatever kind, without credentials: for its Date header."""
        self._pacer.wait()
        self._meter.sending(0)
        return self._http.get()

    def close(self) -> None:
        """Log off, where there is a session to end: the company has only ten."""
        if self._settings.auth == AuthMode.SESSION and self._http.has_cookie(_COOKIE):
            try:
                self._http.get(parameters={"command": "logoff"})
            except errors.CrmError as error:
                logger.warning("could not log off: %s", error)
        self._http.close()

    def _prepare_retry(self, failure: _FailedAttemptError, failures: int) -> None:
        if failure.action is Action.LOGIN_AGAIN_ONCE:
            logger.warning("%s; starting a new session", failure.error)
            self._http.forget_cookies()
            return
        if failure.action is Action.RETRY_AFTER and failure.wait_seconds is not None:
            pause = min(failure.wait_seconds, _MAX_ASKED_PAUSE_SECONDS)
        else:
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
        level = logging.INFO if failure.action is Action.RETRY_AFTER else logging.WARNING
        logger.log(level, "%s; again in %.3g s", failure.error, pause)
        self._sleep(pause)

    def _attempt(self, request: Request, read: Callable[[etree._Element, Reply], T]) -> T:
        subject = request.operation.name
        if self._settings.auth == AuthMode.SESSION and not self._http.has_cookie(_COOKIE):
            self._login()
        had_session = self._http.has_cookie(_COOKIE)
        envelope = copy.deepcopy(request.envelope)
        if self._settings.auth == AuthMode.STATELESS:
            envelope, _ = self._token.apply(envelope, {})
        body = etree.tostring(envelope, xml_declaration=True, encoding="utf-8")
        self._pacer.wait()
        self._meter.sending(request.operations)
        try:
            reply = self._http.post(body, request.operation.soap_action)
            root = _envelope(reply)
            fault = _fault(root, request)
            if fault is None:
                if reply.status != 200:
                    raise errors.CrmUnavailable(f"HTTP {reply.status}")
                result = read(root, reply)
                self._gate.prove()
                return result
        except errors.CrmTooHeavy as error:
            raise self._counted("timeout", Action.RETRY_SMALLER, _about(subject, error)) from error
        except errors.CrmUnavailable as error:
            raise self._counted("unavailable", Action.RETRY, _about(subject, error)) from error
        except errors.CrmAnswerError as error:
            raise self._counted("bad answer", Action.ASK_AGAIN, _about(subject, error)) from error
        except errors.CrmCredentialsError as error:
            raise self._refused(error) from None
        if fault.action in _NEVER_RAN:
            self._meter.add(-request.operations)
        raise self._failure(fault, subject, had_session)

    def _failure(self, fault: Fault, subject: str, had_session: bool) -> _FailedAttemptError:
        action = fault.action
        if action is Action.LOGIN_AGAIN_ONCE and not fault.names_session and not had_session:
            # A backend fault in a language we do not read, and no session that could have ended: the password.
            action = Action.BAD_CREDENTIALS
        if action is Action.BAD_CREDENTIALS:
            self._meter.fault(fault.code)
            return self._refused(credentials_error(fault.codes))
        return self._counted(fault.code, action, fault.error(subject), fault.wait_seconds)

    def _counted(
        self, code: str, action: Action, error: errors.CrmError, wait_seconds: float | None = None
    ) -> _FailedAttemptError:
        self._meter.fault(code)
        return _FailedAttemptError(action, error, wait_seconds)

    def _refused(self, error: errors.CrmCredentialsError) -> _FailedAttemptError:
        self._gate.refuse(error)
        return _FailedAttemptError(Action.BAD_CREDENTIALS, error)

    def _login(self) -> None:
        """Log in; success is 200 and the cookie, anything else is explained in the body."""
        name, password = self._settings.username, self._settings.password
        parameters = {"command": "login"}
        if not (name + password).isascii():
            name, password = quote(name, safe=""), quote(password, safe="")
            parameters["isEncoded"] = "Y"
        self._pacer.wait()
        self._meter.sending(0)
        try:
            reply = self._http.get(headers={"UserName": name, "Password": password}, parameters=parameters)
        except errors.CrmError as error:
            raise self._counted("unavailable", Action.RETRY, _about("login", error)) from error
        if reply.status == 200 and self._http.has_cookie(_COOKIE):
            return
        self._http.forget_cookies()
        fault = Fault.from_text(reply.content[:10_000].decode("utf-8", "replace"))
        if not fault.codes and reply.status not in (200, 401):
            down = errors.CrmUnavailable(f"login: HTTP {reply.status}")
            raise self._counted("unavailable", Action.RETRY, down)
        if fault.action in (Action.RETRY, Action.RETRY_AFTER, Action.RETRY_SMALLER, Action.STOP):
            raise self._counted(fault.code, fault.action, fault.error("login"), fault.wait_seconds)
        self._meter.fault(fault.code or "login refused")
        raise self._refused(credentials_error(fault.codes))


def _envelope(reply: Reply) -> etree._Element:
    """The answer's root; where there is none, the status says more than the page that came with it."""
    try:
        return parse(reply.content)
    except errors.CrmAnswerError:
        if reply.status == 401:
            raise credentials_error() from None
        if reply.status != 200:
            raise errors.CrmUnavailable(f"the CRM is down, or CRMOD_URL is wrong: HTTP {reply.status}") from None
        raise


def _about(subject: str, error: errors.CrmError) -> errors.CrmError:
    """The same error, naming the operation."""
    named = type(error)(f"{subject}: {error}", error.codes)
    named.__cause__ = error.__cause__
    return named


def _fault(root: etree._Element, request: Request) -> Fault | None:
    body = body_of(root)
    if body is None or not any(local_name(element.tag) == "Fault" for element in body):
        return None
    try:
        request.operation.binding.process_error(root, request.operation.zeep_operation)
    except ZeepFault as fault:
        return Fault.from_zeep(fault)
    raise errors.CrmAnswerError(f"{request.operation.name}: a fault that cannot be read")
