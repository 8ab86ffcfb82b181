"""A warehouse as the version before left it, with a publication that the guard of then had stopped."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline.guarded import ACCOUNTS, GuardedPipeline, accounts

OLD_TABLE = """CREATE TABLE held_publication (
    held_at TIMESTAMP, territory VARCHAR, deletes BIGINT, rows BIGINT, released_at TIMESTAMP, released_because VARCHAR,
    published_seq BIGINT)"""


def test_a_publication_that_was_held_does_not_pass_after_an_update(tmp_path: Path) -> None:
    pipeline = GuardedPipeline(tmp_path)
    vanished, blanked = accounts("T1", range(10)), accounts("T2", range(10))
    with pipeline.open() as connection:
        for table in ("doubtful_reading", "doubtful_loss", "held_row", "territory_held", "guard_decision"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("DROP SCHEMA doubtful CASCADE")
        connection.execute("ALTER TABLE announced_move DROP COLUMN target")
        connection.execute(OLD_TABLE)
        connection.execute(
            "INSERT INTO held_publication VALUES (now(), 'T1', 20, 40, NULL, NULL, NULL),"
            " (now(), '*', 9, 90, now(), 'new year', 1)"
        )
        for change, rows in (("_state = 'lost'", vanished), ("TerritoryId = NULL", blanked)):
            connection.execute(f"UPDATE snapshot.account SET {change} WHERE row_id IN (SELECT unnest(?))", [rows])
        connection.execute("INSERT INTO touched SELECT 'account', unnest(?)", [[*vanished, *blanked]])
        connection.execute("DELETE FROM state WHERE name = 'shape'")
    gone = {row_id: pipeline.crm.tables["Account"].pop(row_id) for row_id in vanished}
    for row_id in blanked:
        pipeline.put("Account", row_id, TerritoryId=None)
    result = pipeline.run()
    assert result is not None
    assert result.deleted == 0
    assert {row_id: why for row_id, why in pipeline.held().items() if why} == dict.fromkeys(
        vanished, "vanished"
    ) | dict.fromkeys(blanked, "blanked")
    assert pipeline.query("SELECT decision, territory, rows, reason FROM guard_decision") == [
        ("release", None, 9, "new year")
    ]
    pipeline.crm.tables["Account"].update(gone)
    for row_id in blanked:
        pipeline.put("Account", row_id, TerritoryId="T2")
    pipeline.run("sweep")
    assert pipeline.held() == {}
    assert len(pipeline.visible("T1")) == len(pipeline.visible("T2")) == ACCOUNTS
