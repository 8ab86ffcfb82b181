"""One record that makes every answer with it unreadable: it is put aside by its id, and costs little else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestration.crm import CrmAnswerError, CrmClient, CrmTooHeavy, Query
from orchestration.crm.poison import MOST_POISON_ROWS
from tests.crm.wire import CONTACT, LINKED, Asked, FakeCrm, Said, manager_fault, page, row

Answers = bytes | Said
ESCAPE = "<Name>A&#x1B;B</Name>"
CONTROL = "<Name>A\x0bB</Name>"
ENDLESS = f"<Name>{'x' * 11_000_000}</Name>"


class Contacts:
    """Rows by their ids; what is in ``poison`` replaces the fields of a row, unless only ids are asked for."""

    def __init__(self, rows: int, **poison: str) -> None:
        self.ids = [f"{number:04}" for number in range(rows)]
        self.poison = {name.removeprefix("_"): inner for name, inner in poison.items()}

    def __call__(self, asked: Asked) -> Answers:
        wanted = [row_id for row_id in self.ids if row_id in asked.ids] if asked.ids else self.ids
        shown = wanted[asked.start : asked.start + asked.page_size]
        names = {element.tag.rpartition("}")[2] for element in asked.rows()[0]}
        last = asked.start + asked.page_size >= len(wanted)
        poison = self.poison if "Name" in names else {}
        if any(poison.get(row_id) == "fault" for row_id in shown):
            return manager_fault("SBL-DBC-00112")
        return page(*(row(row_id, poison.get(row_id, "<Name>fine</Name>")) for row_id in shown), last=last)


def names_aside(client: CrmClient, query: Query) -> tuple[list[str], list[str | None]]:
    pages = list(client.read(query, group_pages=4))
    return [r.id for p in pages for r in p.rows], [defect.row_id for p in pages for defect in p.quarantined]


@pytest.mark.parametrize("inner", [ESCAPE, CONTROL, ENDLESS], ids=["escape", "control", "endless"])
def test_a_full_load_puts_an_unreadable_record_aside(client: CrmClient, crm: FakeCrm, inner: str) -> None:
    crm.answer = table = Contacts(250, _0130=inner)
    rows, aside = names_aside(client, Query(CONTACT))
    assert aside == ["0130"]
    assert rows == [row_id for row_id in table.ids if row_id != "0130"]
    # 3 pages; of one of them 3 attempts, its ids, 2 parts, 6 halvings of one of them, and 3 attempts at the record.
    assert client.operations_spent <= 3 + 3 + 1 + 2 + 2 * 6 + 3


def test_a_record_read_by_id_is_put_aside_with_few_operations(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Contacts(50, _0007=ESCAPE)
    found = client.read_ids(CONTACT, table.ids)
    assert [defect.row_id for defect in found.quarantined] == ["0007"]
    assert len(found.rows) == 49
    assert client.operations_spent <= 3 + 1 + 2 * 6 + 3


def test_a_single_record_that_was_asked_for_costs_one_operation_more(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = Contacts(50, _0007=CONTROL)
    (defect,) = client.read_ids(CONTACT, ["0007"]).quarantined
    assert defect.row_id == "0007"
    assert "well-formed" in defect.reason
    assert client.operations_spent == 3 + 1


def test_records_read_by_a_field_are_put_aside(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = Contacts(30, _0003=ESCAPE, _0029=ENDLESS)
    found = client.read_where(CONTACT, "Name", ["fine"])
    assert sorted(str(defect.row_id) for defect in found.quarantined) == ["0003", "0029"]
    assert len(found.rows) == 28


def test_a_record_that_makes_the_crm_fail_is_put_aside(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = Contacts(40, _0011="fault")
    found = client.read_ids(CONTACT, Contacts(40).ids)
    assert [defect.row_id for defect in found.quarantined] == ["0011"]
    assert len(found.rows) == 39


def test_a_record_whose_links_cannot_be_read_to_their_end_is_put_aside(client: CrmClient, crm: FakeCrm) -> None:
    cut = '<ListOfAccount lastpage="false"><Account><AccountId>A</AccountId></Account></ListOfAccount>'
    crm.say(page(row("1", cut), row("2")))
    crm.answer = lambda _: b"<html>down</html>"
    found = client.query_page(Query(LINKED), 0)
    assert [r.id for r in found.rows] == ["2"]
    assert [defect.row_id for defect in found.quarantined] == ["1"]


def test_an_answer_that_was_only_damaged_on_the_way_puts_nothing_aside(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Contacts(120)
    crm.say(*[b"<cut"] * 3)
    rows, aside = names_aside(client, Query(CONTACT))
    assert (rows, aside) == (table.ids, [])


@pytest.mark.parametrize(
    ("answer", "error"), [(b"<html>down</html>", CrmAnswerError), (manager_fault("SBL-DBC-00112"), CrmTooHeavy)]
)
def test_a_crm_that_is_broken_puts_nothing_aside(
    client: CrmClient, crm: FakeCrm, answer: bytes, error: type[Exception]
) -> None:
    crm.answer = lambda _: answer
    with pytest.raises(error):
        client.read_ids(CONTACT, ["1", "2"])


def test_more_unreadable_records_than_may_be_are_no_fault_of_records(
    connect: Callable[..., CrmClient], crm: FakeCrm
) -> None:
    crm.answer = Contacts(50, **{f"_{number:04}": ESCAPE for number in range(MOST_POISON_ROWS + 1)})
    with pytest.raises(CrmAnswerError):
        connect(sessions=1).read_ids(CONTACT, Contacts(50).ids)
