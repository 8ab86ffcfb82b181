"""Log lines for people, or (``DELTA_LOG_FORMAT=json``) one JSON object a line for what collects them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

import orjson

from delta_service.settings import SettingsError

VARIABLE = "DELTA_LOG_FORMAT"
STDERR = 2
BUFFER_BYTES = 65_536


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


class _Lines(logging.StreamHandler[TextIO]):
    """Standard error, to which several lines can be written at once: each by itself takes longer than to make it."""

    def __init__(self) -> None:
        # Like ``sys.stderr``, but for its buffer.
        super().__init__(open(STDERR, "w", BUFFER_BYTES, "utf-8", "backslashreplace", closefd=False))  # noqa: SIM115
        self._held = False

    def flush(self) -> None:
        if not self._held:
            super().flush()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what is logged meanwhile at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.flush()


LINES = _Lines()


def configure_logging() -> None:
    """Raises :class:`SettingsError`."""
    chosen = os.environ.get(VARIABLE) or "text"
    if chosen not in ("text", "json"):
        raise SettingsError(f"{VARIABLE}={chosen!r} is neither text nor json")
    if chosen == "json":
        LINES.setFormatter(JsonFormatter())
    else:
        LINES.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    # Neither format shows them, and each delivery has a line. The last says which call was made, and is the dearest.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # as Python's logging HOWTO says
    logging.basicConfig(level=logging.INFO, handlers=[LINES])
    # httpx logs each URL it asks, which for a key set is of no use.
    logging.getLogger("httpx").setLevel(logging.WARNING)
