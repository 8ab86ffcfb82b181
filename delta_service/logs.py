"""Log lines for people, or (``DELTA_LOG_FORMAT=json``) one JSON object a line for what collects them."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from delta_service.settings import SettingsError

VARIABLE = "DELTA_LOG_FORMAT"
STDERR = 2
BUFFER_BYTES = 65_536


class Lines(NamedTuple):
    """Messages of one moment, logged as one: what their lines have in common is found out and written once."""

    messages: list[str]

    def __str__(self) -> str:
        return "\n".join(self.messages)


class TextFormatter(logging.Formatter):
    """Time, level, logger and message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        if not isinstance(record.msg, Lines):
            return super().format(record)
        record.message, record.asctime = "", self.formatTime(record)
        common = self.formatMessage(record)
        return "\n".join([common + message for message in record.msg.messages])


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message; ``exception`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        common = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        exception = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        messages = record.msg.messages if isinstance(record.msg, Lines) else [record.getMessage()]
        return "\n".join([orjson.dumps(common | {"message": message} | exception).decode() for message in messages])


def configure_logging() -> None:
    """Raises :class:`SettingsError`."""
    chosen = os.environ.get(VARIABLE) or "text"
    if chosen not in ("text", "json"):
        raise SettingsError(f"{VARIABLE}={chosen!r} is neither text nor json")
    # Like ``sys.stderr``, but that the lines of many deliveries are one write.
    handler = logging.StreamHandler(open(STDERR, "w", BUFFER_BYTES, "utf-8", "backslashreplace", closefd=False))  # noqa: SIM115
    handler.setFormatter(JsonFormatter() if chosen == "json" else TextFormatter())
    # Neither format shows them, and each delivery has a line. The last says which call was made, and is the dearest.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # as Python's logging HOWTO says
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # httpx logs each URL it asks, which for a key set is of no use.
    logging.getLogger("httpx").setLevel(logging.WARNING)
