"""The delta store as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from delta_service.store.writer import DeltaStoreWriter
from orchestration.settings import PipelineSettings


class DeltaStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Writes ``$DELTA_HOME/delta.sqlite``, or what ``DELTA_STORE_URL`` names, by the delta service's own writer."""

    @contextmanager
    def writer(self) -> Iterator[DeltaStoreWriter]:
        settings = PipelineSettings.from_environment()
        settings.delta_home.mkdir(parents=True, exist_ok=True)
        with DeltaStoreWriter(settings.delta_store_location) as writer:
            yield writer
