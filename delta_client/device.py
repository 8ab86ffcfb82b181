"""The rules of synchronising: what to ask next, what to do with the answer, and with a refusal."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from delta_client.answer import Answer, AnswerError, Facts, operations_of
from delta_client.connection import Connection, ProblemError, UnreachableError
from delta_client.database import Database, State
from delta_client.digest import bucket_digests, bucket_of, digest_of, version_of

log = logging.getLogger(__name__)

# Refused because of the token, which is for people to mend, or for the time being.
UNAUTHORIZED = 401
PASSING = {408, 425, 429}
LOST_CURSOR = {"cursor-malformed", "cursor-epoch", "cursor-ahead", "cursor-expired"}

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 60.0


class RevokedError(Exception):
    """The token does not cover this territory any longer. The rows have been wiped."""


class DivergedError(Exception):
    """Not even a fresh copy has the digest that the service tells. Nothing that a device could do helps."""


class Step(Enum):
    """What to ask for, from the cheapest to the surest."""

    DELTA = "delta"
    RECONCILE = "reconcile"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Progress:
    """Of the answer under way, pages from before a crash included."""

    received_rows: int
    total_rows: int | None
    """Known where the answer is a whole view, as at a first sync, and at the end of any."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the rows came to be proven equal to the service's."""

    operations: int
    """Rows written or removed."""
    steps: tuple[Step, ...]
    facts: Facts
    """Of the service's last answer: when to ask again, and what is held back."""


Tell = Callable[[Progress], None]


class Device:
    """Keeps ``database`` equal to what ``route`` shows: ``/v1/territories/{id}``, or ``/v1``, all the token names."""

    def __init__(
        self,
        connection: Connection,
        database: Database,
        route: str,
        *,
        page_rows: int = 5_000,
        sleep: Callable[[float], None] = time.sleep,
        tell: Tell = lambda _: None,
    ) -> None:
        self._connection = connection
        self._database = database
        self._route = route
        self._page_rows = page_rows
        self._sleep = sleep
        self._tell = tell

    def sync(self, *, wait_seconds: int = 0, patience_seconds: float = 300) -> Outcome:
        """Fetch what is new and prove the result; with ``wait_seconds`` the service holds the question meanwhile.

        Goes on through failures that pass, for ``patience_seconds``. Raises ProblemError for a refusal that only
        people can mend, RevokedError, DivergedError, UnreachableError, AnswerError and ConcurrentUseError.
        """
        give_up_at = time.monotonic() + wait_seconds + patience_seconds
        steps, failures, operations = [Step.DELTA], 0, 0
        while True:
            step = steps[-1]
            try:
                was = self._database.state
                if step is Step.RECONCILE:
                    answer = self._repair()
                else:
                    answer, was = self._last_page(was, step, wait_seconds)
                operations += self._apply(answer, was)
            except (ProblemError, UnreachableError, AnswerError) as error:
                failures += 1
                following = self._step_after(error, step)
                pause = 0.0 if following is not step else _pause_seconds(error, failures)
                if time.monotonic() + pause > give_up_at:
                    raise
                log.info("%s: %s; %s follows in %.1f s", step.value, error, following.value, pause)
                self._sleep(pause)
            else:
                wrong = self._differing(answer.facts)
                if not wrong:
                    return Outcome(operations, tuple(steps), answer.facts)
                log.warning("after the %s, %s are not what the service has", step.value, ", ".join(wrong))
                if step is Step.SNAPSHOT:
                    raise DivergedError("Not even a fresh copy has the digest that the service tells.")
                following = self._repairing_step() if step is Step.DELTA else Step.SNAPSHOT
            if following is not step:
                steps.append(following)

    def _last_page(self, state: State, step: Step, wait_seconds: int) -> tuple[Answer, State]:
        """The last page, and the state in which all pages before it are staged."""
        if state.next_page is not None and state.route != self._route:
            self._database.forget_staged()
            state = self._database.state
        if state.next_page is not None:
            answer = self._connection.delta(state.next_page)
        else:
            parameters: dict[str, str | int] = {"limit": self._page_rows}
            if step is Step.DELTA and state.cursor is not None:
                parameters |= {"since": state.cursor} | ({"wait": wait_seconds} if wait_seconds else {})
            answer = self._connection.delta(f"{self._route}/delta", parameters)
        while answer.facts.next_page is not None:
            following = State(state.cursor, answer.facts.next_page, self._route)
            self._database.stage(operations_of(answer.body), state, following)
            state = following
            self._report(answer.facts)
            answer = self._connection.delta(answer.facts.next_page)
        return answer, state

    def _repair(self) -> Answer:
        """Both rounds, against the newest view: the cursor may be the very thing that was lost."""
        names = self._connection.objects(f"{self._route}/digest")
        reconcile = f"{self._route}/reconcile"
        digests = {name: bucket_digests(name, self._database.rows(name)) for name in names}
        found = self._connection.comparison(reconcile, {"buckets": digests})
        versions = {
            name: {
                row_id: version_of(text) for row_id, text in self._database.rows(name) if bucket_of(row_id) in wanted
            }
            for name, wanted in ((name, frozenset(buckets)) for name, buckets in found["differing"].items())
        }
        return self._connection.repair(
            reconcile, {"cursor": found["cursor"], "differing": found["differing"], "versions": versions}
        )

    def _apply(self, answer: Answer, was: State) -> int:
        """Rows and cursor become those of the answer; returns how many rows it named."""
        facts = answer.facts
        if facts.cursor is None:
            raise AnswerError("a repair has pages")
        operations = list(operations_of(answer.body))
        count = self._database.staged_count + len(operations)
        self._database.apply(operations, was, facts.cursor, replaces=facts.replaces)
        self._tell(Progress(count, count))
        return count

    def _differing(self, facts: Facts) -> list[str]:
        """Objects that are not as the service has them, by the texts that are in the file at this moment."""
        names = {*facts.counts, *self._database.object_names}
        return sorted(name for name in names if not self._is_proven(name, facts))

    def _is_proven(self, name: str, facts: Facts) -> bool:
        rows = list(self._database.rows(name))
        return len(rows) == facts.counts.get(name, 0) and digest_of(name, rows) == facts.digests.get(
            name, digest_of(name, ())
        )

    def _repairing_step(self) -> Step:
        """Comparing pays where there is something to compare."""
        return Step.RECONCILE if self._database.row_count else Step.SNAPSHOT

    def _step_after(self, error: ProblemError | UnreachableError | AnswerError, step: Step) -> Step:
        """What to do after a failure. Raises it again where only people can help."""
        if isinstance(error, UnreachableError):
            return step
        if isinstance(error, ProblemError):
            if error.status in PASSING or error.status >= 500:
                return step
            if error.code == "scope-denied":
                self._database.wipe()
                raise RevokedError("The token does not cover this territory any longer; its rows are wiped.") from error
            if error.status == UNAUTHORIZED:
                raise error
        had_staged = self._database.state.next_page is not None
        self._database.forget_staged()
        if isinstance(error, AnswerError) or had_staged or error.code == "page-expired":
            return step
        if step is Step.RECONCILE:
            return Step.SNAPSHOT
        if error.code not in LOST_CURSOR or step is Step.SNAPSHOT:
            raise error
        return Step.SNAPSHOT if error.action == "snapshot" else self._repairing_step()

    def _report(self, facts: Facts) -> None:
        self._tell(Progress(self._database.staged_count, facts.total_rows if facts.replaces else None))


def _pause_seconds(error: Exception, failures: int) -> float:
    """What the service asks for, else longer and longer; spread, so that devices do not come back together."""
    backoff = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (failures - 1))
    asked = error.retry_after_seconds if isinstance(error, ProblemError) else None
    return (backoff if asked is None else asked) * random.uniform(1, 1.25)  # noqa: S311
