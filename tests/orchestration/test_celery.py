"""Health of runs as a tenant's launcher reports it, with a scripted broker; more is in tests/distributed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from orchestration import celery_worker
from orchestration.celery_launcher import QUESTIONS, TenantRunLauncher
from tests.orchestration.dagster_private import WorkerStatus

TASK = "0f9c"


@dataclass
class Broker:
    """Stands for the launcher's Celery app: a task's state, and what workers answer to each question."""

    state: str = "STARTED"
    info: Any = field(default_factory=lambda: {"hostname": "acme1@host", "pid": 7})
    answers: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    @property
    def control(self) -> Broker:
        return self

    def AsyncResult(self, task_id: str) -> Broker:  # noqa: N802
        assert task_id == TASK
        return self

    def inspect(self, destination: list[str] | None, timeout: float) -> Broker:
        self.asked.append(destination)
        return self

    def query_task(self, task_id: str) -> Any:
        return self.answers.pop(0)


def health(broker: Broker, tags: dict[str, str] | None = None) -> WorkerStatus:
    launcher = TenantRunLauncher(default_queue="unused", broker="memory://", backend="cache+memory://")
    launcher.celery = broker
    run = dg.DagsterRun("sync", tags={"dagster-celery/task_id": TASK} if tags is None else tags)
    return launcher.check_run_worker_health(run).status


def test_a_run_that_its_worker_knows_is_running() -> None:
    broker = Broker(answers=[{"acme1@host": {TASK: ["active", {}]}}])
    assert health(broker) is WorkerStatus.RUNNING
    assert broker.asked == [["acme1@host"]]


def test_one_missed_answer_does_not_fail_a_run() -> None:
    assert health(Broker(answers=[None, {"acme1@host": {TASK: ["active", {}]}}])) is WorkerStatus.RUNNING


@pytest.mark.parametrize("answer", [None, {"acme1@host": {}}], ids=["it is gone", "it was started anew"])
def test_a_run_that_its_worker_does_not_know_has_failed(answer: Any) -> None:
    assert health(Broker(answers=[answer] * QUESTIONS)) is WorkerStatus.FAILED


def test_all_workers_are_asked_when_the_broker_forgot_who_has_the_run() -> None:
    broker = Broker("PENDING", None, [{"other@host": {}, "acme1@host": {TASK: ["active", {}]}}])
    assert health(broker) is WorkerStatus.RUNNING
    assert broker.asked == [None]


def test_the_worker_of_an_ended_task_is_not_asked() -> None:
    assert health(Broker("FAILURE", None)) is WorkerStatus.FAILED
    assert health(Broker("SUCCESS", None)) is WorkerStatus.SUCCESS


def test_a_run_started_by_hand_counts_as_running() -> None:
    assert health(Broker(), tags={}) is WorkerStatus.RUNNING


def test_a_worker_reads_the_queue_of_its_code_location() -> None:
    assert celery_worker.app.conf.task_default_queue == "territory_delta"
    assert {"execute_job", "resume_job"} <= set(celery_worker.app.tasks)
