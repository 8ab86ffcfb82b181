"""The text forms of values, and how to read what others write."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

V1_FORMAT = "%m/%d/%Y %H:%M:%S"

_BOOLEANS = {"true": "true", "y": "true", "1": "true", "false": "false", "n": "false", "0": "false"}
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def stamp(moment: datetime) -> str:
    """The CRM's date-time: UTC, whole seconds. Equal-length texts, so they sort as times do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_stamp(text: str) -> datetime:
    """A date-time in XSD form, or in the locale's; without a zone it is UTC. Raises ValueError."""
    text = text.strip()
    if _ISO.match(text):
        moment = datetime.fromisoformat(text)
    else:
        moment = datetime.strptime(text if " " in text else f"{text} 00:00:00", V1_FORMAT)  # noqa: DTZ007
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def canonical(type_: str, text: str) -> str:
    """The wire form of a value of an XSD type. Raises ValueError."""
    match type_:
        case "string":
            if _UNPRINTABLE.search(text):
                raise ValueError("the text holds a character that XML cannot carry")
            return text
        case "boolean":
            try:
                return _BOOLEANS[text.strip().lower()]
            except KeyError:
                raise ValueError(f"{text!r} is not a boolean") from None
        case "int":
            return str(int(text))
        case "decimal":
            try:
                number = Decimal(text.strip())
            except InvalidOperation:
                raise ValueError(f"{text!r} is not a decimal number") from None
            if not number.is_finite():
                raise ValueError(f"{text!r} is not a decimal number")
            return f"{number:f}"
        case "date":
            text = text.strip()
            return date.fromisoformat(text).isoformat() if _ISO.match(text) else parse_stamp(text).date().isoformat()
        case "dateTime":
            return stamp(parse_stamp(text))
    raise ValueError(f"unknown type {type_}")


def written(type_: str, text: str | None) -> str | None:
    """What the CRM stores of a written value: blank is null, and so is a value of the wrong type (or its zero)."""
    if text is None or not text.strip():
        return None
    try:
        return canonical(type_, text)
    except ValueError:
        return {"boolean": "false", "int": "0"}.get(type_)


def comparable(type_: str, text: str) -> str | Decimal:
    """A stored value in a form whose order is the type's."""
    return Decimal(text) if type_ in ("int", "decimal") else text
