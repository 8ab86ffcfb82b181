"""Wire text to typed values. A text that is not of its type is an error, never a guess and never None."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

from orchestration.catalog import FieldType

Value = str | int | bool | date | datetime | None

_INT = re.compile(r"[+-]?[0-9]{1,18}\Z")
_JSON_NUMBER = re.compile(r"(?:0|-?[1-9][0-9]*)(?:\.[0-9]+)?\Z")
_DECIMAL = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?\Z")
_ZONE = r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
_DATE = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}){_ZONE}?\Z")
_DATE_TIME = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}})(\.[0-9]+)?({_ZONE})?\Z")
_BOOLEANS = {"true": True, "1": True, "y": True, "false": False, "0": False, "n": False}


def decimal_text(text: str) -> str:
    """A decimal as JSON number text that keeps the source's digits: ``+.50`` is ``0.50``, ``007`` is ``7``."""
    if _JSON_NUMBER.match(text):
        return text
    match = _DECIMAL.match(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError("not a decimal number")
    whole = match[2].lstrip("0") or "0"
    number = f"{whole}.{match[3]}" if match[3] else whole
    return f"-{number}" if match[1] == "-" and number.strip("0.") else number


# The first test of each converter is for the form that the CRM sends, and takes half the time of the pattern. Of all
# that `fromisoformat` reads, only dates and times in this form have these letters at these places.


def _int(text: str) -> int:
    if len(text) <= 18 and text.isascii() and text.isdigit():
        return int(text)
    if not _INT.match(text):
        raise ValueError("not a whole number")
    return int(text)


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError("not true or false") from None


def _date(text: str) -> date:
    try:
        if len(text) == 10 and text[4::3] == "--":
            return date.fromisoformat(text)
        match = _DATE.match(text)
        if match is None:
            raise ValueError
        return date.fromisoformat(match[1])
    except ValueError:
        raise ValueError("not a date") from None


def date_time(text: str) -> datetime:
    """An aware UTC date-time. Without a zone it is read as UTC, the zone the integration user should have."""
    try:
        if len(text) == 20 and text[4::3] == "--T::Z":
            return datetime.fromisoformat(text)
        match = _DATE_TIME.match(text)
        if match is None:
            raise ValueError
        seconds, fraction, zone = match.groups()
        moment = datetime.fromisoformat(f"{seconds}{(fraction or '.0')[:7]:0<7}{zone or 'Z'}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a date and time") from None


CONVERTERS: Mapping[FieldType, Callable[[str], Value]] = {
    FieldType.INT: _int,
    FieldType.DECIMAL: decimal_text,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.DATE_TIME: date_time,
}
"""From wire text, stripped and not blank, to the value of a field that is no string.

They raise ValueError with a reason that does not repeat the text.
"""
