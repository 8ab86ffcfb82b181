"""Sends a run to a queue that is not its tenant's. The one place of these tests that uses private names of Dagster:
what a worker is sent is made by Dagster's launcher, which sends to the right queue only."""

from __future__ import annotations

from dagster import DagsterInstance, DagsterRun
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value

from orchestration.celery_launcher import TenantRunLauncher


def send_to_queue(instance: DagsterInstance, run: DagsterRun, queue: str) -> None:
    """The run must have the code origin of another one; whichever worker reads the queue gets it."""
    launcher = instance.run_launcher
    assert isinstance(launcher, TenantRunLauncher)
    assert run.job_code_origin is not None
    arguments = ExecuteRunArgs(job_origin=run.job_code_origin, run_id=run.run_id, instance_ref=instance.get_ref())
    launcher.celery.send_task(
        "execute_job", kwargs={"execute_job_args_packed": pack_value(arguments)}, queue=queue, routing_key=queue
    )
