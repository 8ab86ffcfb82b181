"""What can go wrong with the CRM, in the few kinds that callers tell apart.

No message holds credentials or field values.
"""

from __future__ import annotations

from collections.abc import Sequence


class CrmError(Exception):
    """Any failure of this adapter. ``codes`` are the CRM's own ``SBL-...`` codes, if it gave any."""

    def __init__(self, message: str, codes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.codes = tuple(codes)


class ConfigurationError(CrmError):
    """A setting, a WSDL or the object catalog does not fit; the message names it."""


class CrmUnavailable(CrmError):  # noqa: N818 - reads as what it is
    """The CRM could not be reached, or kept failing through all retries. Later may be better."""


class CrmTooHeavy(CrmUnavailable):
    """The CRM could not finish this query: ask for less (a shorter window, fewer ids)."""


class CrmCannotCount(CrmTooHeavy):
    """SBL-DAT-00407: too heavy, or, if a count was asked for, this query cannot be counted."""


class CrmAnswerError(CrmError):
    """The CRM answered with something that is not a complete, well-formed answer to the question."""


class CrmRefused(CrmError):  # noqa: N818
    """The CRM understood and refused; asking again cannot help."""


class CrmNoAccess(CrmRefused):
    """The integration user's role may not read this object or service: it can be left out."""


class CrmCredentialsError(CrmError):
    """The CRM did not accept the user name and password. They are not tried again: accounts lock."""


class CrmBudgetExhausted(CrmError):  # noqa: N818
    """Our own operations budget, or the company's allotment, is spent."""
