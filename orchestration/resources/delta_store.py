"""The delta store as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from delta_service.store.writer import DeltaStoreWriter
from orchestration.settings import PipelineSettings


class DeltaStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Writes ``$DELTA_HOME/delta.sqlite`` through the delta service's own writer."""

    @contextmanager
    def writer(self) -> Iterator[DeltaStoreWriter]:
        path = PipelineSettings.from_environment().delta_store_path
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = DeltaStoreWriter(path)
        try:
            yield writer
        finally:
            writer.close()
