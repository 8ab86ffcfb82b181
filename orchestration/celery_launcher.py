"""Runs go whole, as Celery tasks, to the queue of their tenant, where only the tenant's worker takes them.

Whole runs and not single steps, for which dagster-celery has an executor: every step of a sync needs the warehouse,
which is one DuckDB file with one writer, so steps have nowhere else to go. A queue read by one host pins the writer to
the host that has the file; a step by itself would cost a poll of a second, a second process, and the run's CRM client.
Runs need the in-process executor, which definitions.py sets: a Celery process may have no children.
"""

from __future__ import annotations

import warnings

from celery.exceptions import DuplicateTaskNameWarning  # type: ignore[import-untyped]
from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from orchestration.tenancy import location_of

# dagster-celery names its task anew for each run, and the daemon's log would say so each time.
warnings.filterwarnings("ignore", category=DuplicateTaskNameWarning)

ANSWER_SECONDS = 5.0
"""A worker answers at once, busy or not. One that misses two questions in a row is gone."""
QUESTIONS = 2


class TenantRunLauncher(CeleryRunLauncher):
    """For ``run_launcher`` in dagster.yaml. Brokers come from ``CELERY_BROKER_URL`` and ``CELERY_RESULT_BACKEND``."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Whoever launched it, and with whatever tags: a run goes to its own tenant's worker."""
        run_id = context.dagster_run.run_id
        self._instance.add_run_tags(run_id, {DAGSTER_CELERY_QUEUE_TAG: location_of(context.dagster_run)})
        run = self._instance.get_run_by_id(run_id) or context.dagster_run
        super().launch_run(context._replace(dagster_run=run))

    def terminate(self, run_id: str) -> bool:
        """The run is told to end, and says itself that it was canceled; one still in the queue is not begun."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Celery says "started" for ever of a task whose worker was killed: so the worker itself is asked."""
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "Started by hand, by no worker.")
        task = self.celery.AsyncResult(task_id)
        if task.state in {"SUCCESS", "FAILURE"}:
            return super().check_run_worker_health(run)
        worker = task.info.get("hostname") if isinstance(task.info, dict) else None
        for _ in range(QUESTIONS):
            # Without a name, because the broker forgot it, all are asked.
            inspect = self.celery.control.inspect([worker] if worker else None, timeout=ANSWER_SECONDS)
            if any(task_id in tasks for tasks in (inspect.query_task(task_id) or {}).values()):
                return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"Worker {worker or ''} is gone, or does not know the run.")
