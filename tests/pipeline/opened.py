"""A warehouse that is opened once for all that a test does with it in a row: opening is what takes time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from orchestration.catalog import Catalog
from orchestration.pipeline.warehouse import open_warehouse


class OpenedOnce:
    """Opens the warehouse; within the block, opening it again gives the same connection."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        self._path, self._catalog = path, catalog
        self._connection: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def __call__(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self._connection is not None:
            yield self._connection
            return
        with open_warehouse(self._path, self._catalog, 5) as connection:
            self._connection = connection
            try:
                yield connection
            finally:
                self._connection = None
