"""The assignment engine: a save asks for it, and some time later it finds owner and territory."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from crm_simulator.changes import save
from crm_simulator.crm import Assignment, Crm, Touched
from crm_simulator.lookup import live_record


def submit(
    crm: Crm, object_name: str, ids: list[str], outcome: dict[str, str | None], after_seconds: float | None, events: str
) -> Touched:
    """The first step: flag the records. The second one follows by itself, or at :func:`finish` without a time.

    ``events`` says which of the two steps write theirs: both, first, second or none.
    """
    touched = Touched()
    for record in [live_record(crm, object_name, id_) for id_ in ids]:
        flags = {
            "ReassignOwnerFlag": "true",
            "AssignmentStatus": "Submitted",
            "LastAssignmentSubmissionDate": crm.now(),
        }
        save(crm, touched, object_name, record, flags, events in ("both", "first"))
        assignment = Assignment(object_name, record.id, outcome, events in ("both", "second"))
        crm.assignments.append(assignment)
        if after_seconds is not None:
            due = crm.clock.now() + timedelta(seconds=after_seconds)
            crm.agenda.add(due, partial(_complete_and_remember, crm, assignment))
    return touched


def finish(crm: Crm) -> Touched:
    """The second step of all that wait for it."""
    touched = Touched()
    for assignment in list(crm.assignments):
        _complete(crm, touched, assignment)
    return touched


def _complete_and_remember(crm: Crm, assignment: Assignment) -> None:
    touched = Touched()
    _complete(crm, touched, assignment)
    if touched.ids:
        crm.remember(f"Assignment engine completed {assignment.object_name}", touched)


def _complete(crm: Crm, touched: Touched, assignment: Assignment) -> None:
    if assignment not in crm.assignments:
        return
    crm.assignments.remove(assignment)
    record = crm.tables[assignment.object_name].live(assignment.record_id)
    if record is None:
        return
    done: dict[str, str | None] = {
        "ReassignOwnerFlag": "false",
        "AssignmentStatus": "Completed",
        "LastAssignmentCompletionDate": crm.now(),
    }
    save(crm, touched, assignment.object_name, record, assignment.outcome | done, assignment.events)
