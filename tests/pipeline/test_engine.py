"""What the pipeline relies on in DuckDB, and what a version of it once got wrong."""

from __future__ import annotations

import duckdb


def test_a_large_insert_after_an_empty_one_in_the_same_transaction_can_be_found() -> None:
    """DuckDB 2.0.0 spoilt the table's statistics: joins missed all rows, for good. 2.0.1 does not."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE source AS SELECT range::VARCHAR AS row_id FROM range(200000)")
        connection.execute("CREATE TABLE target (row_id VARCHAR)")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO target SELECT row_id FROM source WHERE row_id = 'none'")
        connection.execute("INSERT INTO target SELECT row_id FROM source")
        connection.execute("COMMIT")
        found = connection.execute("SELECT count(*) FROM target JOIN source USING (row_id)").fetchone()
        assert found == (200_000,)
