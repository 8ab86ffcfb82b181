"""The Celery app of a tenant's worker: ``celery -A orchestration.celery_worker worker -n $TENANT@%h``.

It reads the queue of its tenant only, and executes runs in its own environment, which is the tenant's alone.
"""

from __future__ import annotations

from typing import Any, cast

from celery import Celery, Task  # type: ignore[import-untyped]
from dagster import DagsterInstance
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import unpack_value
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from orchestration.tenancy import LOCATION, location_of

RUNS_PER_PROCESS = 100
"""What a large load took of memory goes back with the process."""


class ForeignRunError(Exception):
    """A run of another tenant came by this worker's queue."""


class OwnRun(Task):  # type: ignore[misc]
    """Refuses the run of another tenant: it would read this one's CRM and write this one's stores."""

    def before_start(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        (packed,) = kwargs.values()
        run_id = cast("ExecuteRunArgs | ResumeRunArgs", unpack_value(packed)).run_id
        with DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_id)
            if run is not None and location_of(run) != LOCATION:
                message = f"A run of {location_of(run)} was sent to the worker of {LOCATION}, which refuses it."
                instance.report_run_failed(run, message)
                raise ForeignRunError(message)


app = Celery("territory_delta", task_cls=OwnRun)
app.conf.update(
    task_default_queue=LOCATION,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # for as long as it takes
    # Runs wait in the queue, where another worker finds them, and not in this one.
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=RUNS_PER_PROCESS,
)
execute_job = create_execute_job_task(app)
resume_job = create_resume_job_task(app)
