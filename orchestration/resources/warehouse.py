"""The warehouse as a Dagster resource."""

from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cached_property

import dagster as dg
import duckdb

from orchestration.catalog import Catalog, load_catalog
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.warehouse import open_warehouse
from orchestration.settings import PipelineSettings


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens ``$DELTA_HOME/warehouse.duckdb`` for a run, as briefly as the step can."""

    @cached_property
    def settings(self) -> PipelineSettings:
        return PipelineSettings.from_environment()

    @cached_property
    def catalog(self) -> Catalog:
        return load_catalog()

    @property
    def guard(self) -> Guard:
        settings = self.settings
        return Guard(
            settings.guard_max_share,
            settings.guard_min_rows,
            timedelta(hours=settings.guard_window_hours),
            settings.guard_moved_share,
        )

    def open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_warehouse(self.settings.warehouse_path, self.catalog, self.settings.lock_wait_seconds)
