"""The format of log lines, as text for people and as JSON for log collectors."""

from __future__ import annotations

import json
import logging
import sys

from delta_service.logs import JsonFormatter, Lines, TextFormatter


def record(message: object, *arguments: object, failed: bool = False) -> logging.LogRecord:
    try:
        if failed:
            raise ValueError("no")
        exception = None
    except ValueError:
        exception = sys.exc_info()
    return logging.LogRecord("a.logger", logging.INFO, "", 0, message, arguments, exception)


def test_a_record_of_several_messages_is_formatted_like_one_record_each() -> None:
    several, *each = record(Lines(["one", "100 %d"])), record("one"), record("100 %d")
    for one in each:
        one.created, one.msecs = several.created, several.msecs
    for formatter in (TextFormatter(), JsonFormatter()):
        assert formatter.format(several) == "\n".join(formatter.format(one) for one in each)
    assert several.getMessage() == "one\n100 %d"


def test_an_exception_is_logged_with_its_traceback() -> None:
    failure = record("it %s", "failed", failed=True)
    text = TextFormatter().format(failure)
    assert " INFO a.logger it failed\nTraceback" in text
    assert text.endswith("ValueError: no")
    line = json.loads(JsonFormatter().format(failure))
    assert {name: line[name] for name in ("level", "logger", "message")} == {
        "level": "info",
        "logger": "a.logger",
        "message": "it failed",
    }
    assert line["exception"].endswith("ValueError: no")
