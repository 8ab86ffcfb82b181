"""``python -m delta_client pull``: bring an SQLite file up to date, once or for good."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from delta_client import device
from delta_client.answer import AnswerError
from delta_client.connection import Connection, ProblemError, UnreachableError
from delta_client.database import ConcurrentUseError, Database
from delta_client.device import Device, DivergedError, Outcome, RevokedError

WAIT_SECONDS = 25
# A question that was answered sooner did not wait: too many do already.
SHORT_WAIT_SECONDS = 1
FAILED, REFUSED, WIPED = 1, 3, 4


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 proven equal, 1 failed, 3 token refused (data kept), 4 revoked (data wiped)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    route = "/v1" if options.territory is None else f"/v1/territories/{quote(options.territory, safe='')}"
    token = options.token or os.environ.get("DELTA_TOKEN") or None
    try:
        with Connection(options.url, token) as connection, Database(options.db) as database, _bar() as tell:
            client = Device(connection, database, route, page_rows=options.page_rows, tell=tell)
            outcome = client.sync()
            _report(outcome, database)
            while options.follow:
                outcome = _follow(client, database, outcome)
    except KeyboardInterrupt:
        return 0
    except (AnswerError, ConcurrentUseError, DivergedError, ProblemError, RevokedError, UnreachableError) as error:
        sys.stderr.write(f"{error}\n")
        if isinstance(error, RevokedError):
            return WIPED
        return REFUSED if isinstance(error, ProblemError) and error.status == device.UNAUTHORIZED else FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m delta_client", description="Keeps a device's database.")
    pull = parser.add_subparsers(dest="command", required=True).add_parser("pull", help="bring a file up to date")
    pull.add_argument("--db", type=Path, required=True, help="SQLite file; created if there is none")
    pull.add_argument("--url", required=True, help="of the delta service, such as http://127.0.0.1:8010")
    pull.add_argument("--territory", help="id or name (default: all that the token names)")
    pull.add_argument("--token", help="bearer token (default: the variable DELTA_TOKEN)")
    pull.add_argument("--follow", action="store_true", help="stay, and apply each publication as it comes")
    pull.add_argument("--page-rows", type=int, default=5_000, help="rows a page (default: %(default)s)")
    return parser


def _follow(client: Device, database: Database, before: Outcome) -> Outcome:
    asked_at = time.monotonic()
    outcome = client.sync(wait_seconds=WAIT_SECONDS, patience_seconds=float("inf"))
    if outcome.operations or outcome.facts.held != before.facts.held:
        _report(outcome, database)
        if before.facts.held and not outcome.facts.held:
            _say("no rows are held back any more")
    elif time.monotonic() - asked_at < SHORT_WAIT_SECONDS:
        time.sleep(outcome.facts.next_expected_seconds)
    return outcome


def _report(outcome: Outcome, database: Database) -> None:
    steps = ", ".join(step.value for step in outcome.steps)
    _say(f"{database.row_count} rows, proven equal; {outcome.operations} operations by {steps}")
    if held := outcome.facts.held:
        rows = ", ".join(f"{count} {name}" for name, count in held.items())
        _say(f"rows held back by the service since {outcome.facts.held_since}: {rows}; these may be outdated")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _bar() -> Iterator[device.Tell]:
    """A progress bar on the terminal, where there is one, while the size of an answer is known."""
    columns = TextColumn("first sync"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", visible=False)

        def tell(progress: device.Progress) -> None:
            unfinished = progress.total_rows is not None and progress.received_rows < progress.total_rows
            bar.update(task, completed=progress.received_rows, total=progress.total_rows, visible=unfinished)

        yield tell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
