"""The warehouse as a Dagster resource."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import cached_property

import dagster as dg
import duckdb

from orchestration.catalog import Catalog, load_catalog
from orchestration.liveness import held_by_run
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.warehouse import open_warehouse
from orchestration.settings import PipelineSettings, SettingsError


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens ``$DELTA_HOME/warehouse.duckdb`` for a run, as briefly as the step can."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[WarehouseResource]:
        """Whoever uses the warehouse in a run shows that the run's process is alive."""
        try:
            home = self.settings.delta_home
        except SettingsError:
            # The step that needs a setting says so, with advice.
            yield self
            return
        with held_by_run(home, context.run.run_id) if context.run else nullcontext():
            yield self

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
