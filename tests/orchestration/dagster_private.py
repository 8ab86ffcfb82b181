"""What tests need of Dagster's private modules, because it has no public name."""

from __future__ import annotations

# What a run launcher answers about a worker: dagster-celery and other launchers import it from here, too.
from dagster._core.launcher import WorkerStatus

# The default instance's storages: tests count what is left in their tables and files after runs were deleted.
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqlRunStorage

__all__ = ["SqlRunStorage", "SqliteEventLogStorage", "WorkerStatus"]
