"""What every asset of the project shares: decided once, here."""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg

from orchestration.pipeline.schema import Table

# Each run's process would print it. Backfills in one run are wanted here, and tested; other beta features still warn.
warnings.filterwarnings("ignore", "Parameter `backfill_policy` of function `asset` is currently in beta")

OWNERS = ["team:crm-data"]
WRITER_POOL = "warehouse_writer"
"""One run at a time opens the warehouse; the pool's limit is set in dagster.yaml."""
CODE_VERSION = "1"
PUBLICATION_TAG = "territory_delta/publication"
"""On each sync that published something: the publication's number."""


def table_metadata(table: Table) -> dict[str, Any]:
    """Column schema and table name as the Dagster UI shows them."""
    return {
        "dagster/table_name": table.name,
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(column.name, column.type, column.description) for column in table.columns]
        ),
    }
