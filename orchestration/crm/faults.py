"""The CRM's faults: one table from code to what to do about it.

Texts come in the user's language and useful codes may be nested anywhere, so the whole fault is searched for codes.
Text is looked at only where one code means several things.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lxml import etree
from zeep.exceptions import Fault as ZeepFault

from orchestration.crm import errors


class Action(StrEnum):
    """What to do after a failure."""

    RETRY_AFTER = "retry after the time the CRM names"
    RETRY = "retry with growing pauses"
    RETRY_SMALLER = "retry with growing pauses, then ask for less"
    ASK_AGAIN = "the answer was damaged: ask again"
    SHRINK = "ask for less"
    WITHOUT_COUNT = "repeat without counting, or ask for less"
    LOGIN_AGAIN_ONCE = "start a new session and retry once"
    SKIP_OBJECT = "not open to this role: go on without the object"
    REFUSED = "never retry: the request, the catalog or the rights are at fault"
    BAD_CREDENTIALS = "stop: never try these credentials again"
    STOP = "stop: the allotment is used up for hours"


# Faults of writes are listed for completeness; this adapter only reads, so any of them is a refusal.
ACTIONS: Mapping[str, Action] = {
    "SBL-ODU-01005": Action.RETRY_AFTER,
    "SBL-ODU-01006": Action.LOGIN_AGAIN_ONCE,  # without a text we know: a new session tells
    "SBL-ODU-01007": Action.REFUSED,
    "SBL-ODU-01008": Action.REFUSED,
    "SBL-ODU-01011": Action.SKIP_OBJECT,
    "SBL-SBL-70172": Action.STOP,
    "SBL-DAT-00553": Action.SKIP_OBJECT,
    "SBL-EAI-04376": Action.SHRINK,
    "SBL-DAT-00407": Action.WITHOUT_COUNT,
    "SBL-DBC-00112": Action.SHRINK,
    "SBL-EAI-04447": Action.REFUSED,
    "SBL-EAI-04471": Action.REFUSED,
    "SBL-EAI-04316": Action.REFUSED,
    "SBL-EAI-04127": Action.REFUSED,
    **dict.fromkeys(
        (
            *("SBL-EAI-04378", "SBL-EAI-04403"),  # no such row
            "SBL-EAI-04397",  # no user key
            *("SBL-EAI-04421", "SBL-ODS-00336"),  # delete not permitted
            *("SBL-EAI-04401", "SBL-DAT-00523"),  # changed meanwhile
            *("SBL-DAT-00381", "SBL-DAT-00382", "SBL-EAI-04383", "SBL-DAT-00357"),  # duplicate
            *("SBL-DAT-00498", "SBL-DAT-00510", "SBL-DAT-00225", "SBL-DAT-00235", "SBL-DAT-00521", "SBL-ODS-50736"),
            *("SBL-DAT-00542", "SBL-DAT-00278", "SBL-DAT-00279", "SBL-DAT-00284", "SBL-ODS-00446"),  # no right
            # Not a valid pick-list. 50085 is not a session error.
            *("SBL-ODS-50085", "SBL-ODS-50720", "SBL-ODS-50731", "SBL-ODS-50735", "SBL-SBL-00000"),
        ),
        Action.REFUSED,
    ),
}

_CODE = re.compile(r"SBL-[A-Z]{3}-[0-9]{5}")
_BACKEND = "SBL-ODU-01006"  # "the backend failed": its text says how
_ALLOTMENT = "SBL-SBL-70172"  # of operations, which is used up for hours, or of requests at the same time
_UNSPECIFIC = ("SBL-ODU-01007", "SBL-SBL-00000", _BACKEND, "SBL-EAI-04376")  # matter only when nothing else is there
_NO_CODE = ""


@dataclass(frozen=True)
class Meaning:
    """A text that tells what a fault of several meanings is about. ``codes`` it may stand under; none: no code."""

    codes: frozenset[str]
    text: re.Pattern[str]
    action: Action


_OPEN = frozenset({*_UNSPECIFIC, _NO_CODE})
MEANINGS: Mapping[str, Meaning] = {
    "rejected token": Meaning(
        _OPEN,
        re.compile(r"FailedAuthentication|security token could not be authenticated|Missing wsse:Security", re.I),
        Action.BAD_CREDENTIALS,
    ),
    "hiccup": Meaning(
        _OPEN,
        re.compile(
            r"Session already invalidated|Nested timers|IntegrationServletException|number of concurrent sessions", re.I
        ),
        Action.RETRY,
    ),
    "timeout": Meaning(_OPEN, re.compile("RIP_WAIT_ERROR_TIMEOUT"), Action.RETRY_SMALLER),
    "password": Meaning(
        frozenset({_BACKEND}),
        re.compile(r"passwor[dt]|kennwort|wachtwoord|mot de passe|contraseña|senha|パスワード|密码|密碼|암호", re.I),
        Action.BAD_CREDENTIALS,
    ),
    "too many requests": Meaning(
        frozenset({_ALLOTMENT}),
        re.compile(r"concurrent|gleichzeitig|simult|gelijktijdig|contempor|同時|并发", re.I),
        Action.RETRY,
    ),
}
"""The second half of the table: looked at in this order, before :data:`ACTIONS`."""

_SESSION = re.compile(
    r"session\b.*\b(not available|expired|invalid|timed out)|(invalid|expired)\b.*\bsession", re.I | re.S
)
_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True)
class Fault:
    """A SOAP fault of either shape. ``wait_seconds`` is the pause the CRM asked for, if it did."""

    codes: tuple[str, ...]
    fault_code: str
    message: str = field(repr=False)
    text: str = field(repr=False)
    wait_seconds: float | None = None

    @classmethod
    def from_zeep(cls, fault: ZeepFault) -> Fault:
        detail = fault.detail
        if isinstance(detail, etree._Element):
            wait = next((e.text for e in detail.iter("{*}RequestWait")), None)
            inner = " ".join(text for text in detail.itertext() if isinstance(text, str))
        else:
            wait, inner = None, (detail or b"").decode("utf-8", "replace")
        milliseconds = (wait or "").strip()
        message = fault.message or ""
        return cls(
            codes=_codes(f"{message} {inner}"),
            fault_code=str(fault.code or ""),
            message=message,
            text=f"{message} {inner}",
            wait_seconds=int(milliseconds) / 1000 if milliseconds.isdecimal() else None,
        )

    @classmethod
    def from_text(cls, text: str) -> Fault:
        """A fault told in another way, as a failed login is."""
        return cls(_codes(text), "", text, text)

    @property
    def code(self) -> str:
        """The code that says most; the fault code where there is none."""
        known = [code for code in self.codes if code in ACTIONS]
        telling = [code for code in known if code not in _UNSPECIFIC]
        if telling:
            return telling[0]
        return next((code for code in _UNSPECIFIC if code in known), next(iter(self.codes), self.fault_code))

    @property
    def action(self) -> Action:
        """What to do, by text where a code means several things, else by code."""
        known = self.code if self.code in ACTIONS else _NO_CODE
        said = f"{self.fault_code} {self.text}"
        for meaning in MEANINGS.values():
            if known in meaning.codes and meaning.text.search(said):
                return meaning.action
        return ACTIONS.get(known, Action.REFUSED)

    @property
    def names_session(self) -> bool:
        """Whether the text says in so many words that a session has ended."""
        return bool(_SESSION.search(self.text))

    @property
    def summary(self) -> str:
        """Codes and a shortened message without its literals, which may be data."""
        message = " ".join(_LITERAL.sub("'...'", self.message).split())
        return f"{' '.join(self.codes) or self.fault_code}: {message[:200]}"

    def error(self, subject: str) -> errors.CrmError:
        """The exception for callers once this fault is final. ``subject`` names the operation."""
        said = f"{subject}: {self.summary}"
        match self.action:
            case Action.BAD_CREDENTIALS:
                return credentials_error(self.codes)
            case Action.STOP:
                return errors.CrmBudgetExhausted(
                    f"{subject}: the company's operations allotment is used up ({self.code}); "
                    "the CRM refuses everything until its 24 hour window has moved on",
                    self.codes,
                )
            case Action.SKIP_OBJECT:
                return errors.CrmNoAccess(f"{said} (the integration user's role needs access to it)", self.codes)
            case Action.WITHOUT_COUNT:
                return errors.CrmCannotCount(said, self.codes)
            case Action.SHRINK | Action.RETRY_SMALLER:
                return errors.CrmTooHeavy(said, self.codes)
            case Action.RETRY | Action.RETRY_AFTER | Action.LOGIN_AGAIN_ONCE:
                return errors.CrmUnavailable(said, self.codes)
            case _:
                return errors.CrmRefused(said, self.codes)


def _codes(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_CODE.findall(text)))


def credentials_error(codes: tuple[str, ...] = ()) -> errors.CrmCredentialsError:
    return errors.CrmCredentialsError(
        "the CRM did not accept the user name and password, and they are not tried again because accounts lock: "
        "check CRMOD_USERNAME (COMPANY/USER) and CRMOD_PASSWORD, whether the password has expired or the account is "
        "locked, and that the role may use web services",
        codes,
    )
