"""A row known to be there is asked for in each query: an answer without it is no answer."""

from __future__ import annotations

from orchestration.crm import CrmClient
from tests.crm.wire import CONTACT, LINKED, Asked, FakeCrm, manager_fault, page, row

IDS = [f"1-{n:05}" for n in range(120)]
WITNESSES = ["W-0", "W-1", "W-2"]


def there(asked: Asked) -> bytes:
    return page(*map(row, sorted(set(asked.ids) & {*IDS, *WITNESSES})))


def test_each_query_has_a_witness_and_fifty_ids_at_most_and_costs_no_more(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = there
    found = client.read_ids(CONTACT, IDS[:98], WITNESSES)
    assert sorted(r.id for r in found.rows) == IDS[:98]
    assert found.unanswered == frozenset()
    assert [len(asked.ids) for asked in crm.asked] == [50, 50]
    assert len({row_id for asked in crm.asked for row_id in asked.ids} & set(WITNESSES)) == 2
    assert client.operations_spent == 2


def test_a_witness_costs_an_operation_for_its_child_lists(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = there
    client.read_ids(LINKED, IDS[:10], WITNESSES)
    assert client.operations_spent == 1 + 10 + 1


def test_what_a_query_without_its_witness_lacks_is_unanswered(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda asked: page() if IDS[0] in asked.ids else there(asked)
    found = client.read_ids(CONTACT, [*IDS, "gone"], WITNESSES)
    assert found.unanswered == set(IDS[:49])
    assert sorted(r.id for r in found.rows) == IDS[49:]


def test_smaller_queries_after_a_fault_have_their_witness_too(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda asked: manager_fault("SBL-DBC-00112") if len(asked.ids) > 30 else there(asked)
    found = client.read_ids(CONTACT, IDS[:49], WITNESSES)
    assert len(found.rows) == 49
    assert all(set(asked.ids) & set(WITNESSES) for asked in crm.asked)
    crm.answer = lambda asked: manager_fault("SBL-DBC-00112") if len(asked.ids) > 30 else page()
    assert client.read_ids(CONTACT, IDS[:49], WITNESSES).unanswered == set(IDS[:49])


def test_a_row_that_is_asked_for_is_no_witness_of_its_own_query(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = there
    found = client.read_ids(CONTACT, ["W-0", *IDS[:9]], ["W-0", "W-1"])
    assert "W-0" in {r.id for r in found.rows}
    assert "W-1" in crm.asked[0].ids


def test_queries_by_a_field_have_a_witness(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: page()
    assert client.read_where(CONTACT, "Name", ["x"], ["W-0"]).unanswered == {"x"}
    assert crm.asked[0].searchspec == "([Name] = 'x') OR ([Id] = 'W-0')"
    crm.answer = lambda _: page(row("W-0"))
    found = client.read_where(CONTACT, "Name", ["x"], ["W-0"])
    assert (found.rows, found.unanswered) == ([], frozenset())
    crm.answer = lambda _: page(row("W-0", "<Name>x</Name>"))
    assert [r.id for r in client.read_where(CONTACT, "Name", ["x"], ["W-0"]).rows] == ["W-0"]
