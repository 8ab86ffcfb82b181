"""What is put aside is asked for again, by its id, until it can be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestration.crm.client import Found
from orchestration.crm.queries import Shape
from orchestration.crm.rows import Defect
from tests.pipeline.bench import Bench
from tests.pipeline.fake_crm import FakeCrm


class PoisonedCrm(FakeCrm):
    """Cannot deliver the account of that id."""

    poison: str | None = None

    def read_ids(self, obj: Shape, ids: Iterable[str], witnesses: Sequence[str] = ()) -> Found:
        wanted = list(ids)
        found = super().read_ids(obj, [row_id for row_id in wanted if row_id != self.poison], witnesses)
        aside = [Defect(obj.name, self.poison, "(whole row)", "unreadable")] if self.poison in wanted else []
        return replace(found, quarantined=aside)


def test_a_sweep_reads_again_what_is_in_quarantine_until_it_can_be_read(bench: Bench) -> None:
    crm = bench.crm = PoisonedCrm(bench.crm.now, bench.crm.tables)
    crm.poison = "A"
    bench.put("Account", "A", AccountName="unreadable")
    bench.event("WriteRecordUpdated", "Account", "A")
    bench.sync()
    assert bench.query("SELECT object, row_id FROM quarantine") == [("account", "A")]
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("A",)]
    # Mended in the CRM without an event, and with an old stamp.
    crm.poison = None
    crm.tables["Account"]["A"] |= {"AccountName": "mended", "ModifiedDate": crm.now.replace(year=2020)}
    bench.sync()
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("A",)]
    bench.sync("sweep")
    assert bench.query("SELECT AccountName FROM snapshot.account WHERE row_id = 'A'") == [("mended",)]
    asked = len(crm.asked)
    bench.sync("sweep")
    assert ("account", ("A",)) not in crm.asked[asked:]
