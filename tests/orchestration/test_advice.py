"""Every error that can end a run has advice on what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import dagster as dg
import pytest

import orchestration.definitions  # noqa: F401 - loads whatever a run can reach
from orchestration.advice import ADVICE, UNKNOWN, advised, what_to_do
from orchestration.crm.errors import CrmUnavailable
from orchestration.crm.faults import ACTIONS, Fault
from orchestration.pipeline.alignment_file import AlignmentFileError


def errors() -> set[type[Exception]]:
    """Our own error classes. Private ones never leave their module."""
    return {
        value
        for module, content in list(sys.modules.items())
        if module.startswith(("orchestration.", "delta_service.store"))
        for name, value in vars(content).items()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__ == module
        and not name.startswith("_")
    }


@pytest.mark.parametrize("error", sorted(errors(), key=str))
def test_each_of_our_errors_has_advice(error: type[Exception]) -> None:
    if "what to do" in str(error.__doc__):  # in its own message, which ends as a Failure
        return
    assert what_to_do(error) not in {UNKNOWN, ADVICE[dg.Failure], ADVICE[OSError]}


@pytest.mark.parametrize("code", sorted(ACTIONS))
def test_each_fault_of_the_crm_has_advice(code: str) -> None:
    assert what_to_do(Fault((code,), "", "", code).error("Account")) not in {UNKNOWN, ADVICE[dg.Failure]}


def test_each_piece_of_advice_is_a_short_sentence() -> None:
    for advice in [*ADVICE.values(), UNKNOWN]:
        assert advice.endswith(".")
        assert 10 < len(advice) < 250


def test_advice_is_for_the_cause_of_a_failure() -> None:
    failure, unavailable = dg.Failure("see above"), CrmUnavailable("cannot reach the CRM")
    failure.__cause__, unavailable.__cause__ = AlignmentFileError("line 3"), ConnectionError()
    assert what_to_do(failure) == ADVICE[AlignmentFileError]
    assert what_to_do(unavailable) == ADVICE[CrmUnavailable]
    assert what_to_do(dg.Failure("say more")) == ADVICE[dg.Failure]
    assert what_to_do(ValueError("a bug")) == UNKNOWN


def test_only_a_failed_asset_logs_advice() -> None:
    @dg.asset
    @advised
    def good() -> None:
        pass

    @dg.asset
    @advised
    def bad() -> Iterator[dg.MaterializeResult[None]]:
        raise CrmUnavailable("the pod is down")
        yield dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([good, bad], instance=instance, raise_on_error=False)
        (failure,) = run.get_step_failure_events()
        error = failure.step_failure_data.error
        assert error is not None
        assert error.cause is not None
        assert error.cause.message.rstrip().endswith(f"What to do: {ADVICE[CrmUnavailable]}")
        lines = [entry.user_message for entry in instance.all_logs(run.run_id) if not entry.is_dagster_event]
        assert lines == [f"What to do: {ADVICE[CrmUnavailable]}"]
        assert not [event for event in run.all_events if event.event_type_value.startswith("HOOK")]
