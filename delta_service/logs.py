"""Log lines for people, or (``DELTA_LOG_FORMAT=json``) one JSON object a line for what collects them."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime

import orjson

from delta_service.settings import SettingsError

VARIABLE = "DELTA_LOG_FORMAT"


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message; ``exception`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def configure_logging() -> None:
    """Raises :class:`SettingsError`."""
    chosen = os.environ.get(VARIABLE) or "text"
    if chosen not in ("text", "json"):
        raise SettingsError(f"{VARIABLE}={chosen!r} is neither text nor json")
    handler = logging.StreamHandler()
    if chosen == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    # Neither format shows them, and each delivery has a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # httpx logs each URL it asks, which for a key set is of no use.
    logging.getLogger("httpx").setLevel(logging.WARNING)
