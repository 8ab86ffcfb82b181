"""Rows that spoil answers, clocks that step, and entries of the lists that nobody foresaw."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from crm_simulator.crm import Crm
from crm_simulator.damage import Damage, with_spoiled_rows

ANSWER = (
    '<ListOfAccount lastpage="true"><Account><Id>1</Id><ModId>0</ModId><Name>a</Name><Blank/></Account>'
    "<Account><Id>2</Id><ModId>0</ModId><Name>b</Name><Blank/></Account></ListOfAccount>"
)


@pytest.mark.parametrize(
    ("how", "shown"),
    [("escape", "<Name>A&#x1B;B</Name>"), ("control", "<Name>A\x0bB</Name>"), ("huge", "x" * 1_000_000)],
)
def test_a_spoiled_row_is_shown_spoiled_and_no_other(how: str, shown: str) -> None:
    crm = Crm()
    Damage.model_validate({"id": "2", "how": how, "megabytes": 1}).carry_out(crm)
    answer = with_spoiled_rows(crm, ANSWER)
    assert shown in answer
    assert answer.startswith(ANSWER[: ANSWER.index("<Name>b")])
    Damage(lifted=True).carry_out(crm)
    assert with_spoiled_rows(crm, ANSWER) == ANSWER


def test_an_answer_with_ids_only_is_sound() -> None:
    crm = Crm()
    Damage(id="1").carry_out(crm)
    names = '<ListOfAccount lastpage="true"><Account><Id>1</Id><ModId>3</ModId></Account></ListOfAccount>'
    assert with_spoiled_rows(crm, names) == names


@pytest.mark.parametrize(("text", "shown"), [("soon", "<Name>soon</Name>"), ("", "<ModId>0</ModId><Blank/>")])
def test_a_value_is_replaced_or_left_out(text: str, shown: str) -> None:
    crm = Crm()
    Damage(id="1", how="value", field="Name", text=text).carry_out(crm)
    assert shown in with_spoiled_rows(crm, ANSWER)


@pytest.mark.parametrize("body", [{}, {"id": "1", "how": "value"}])
def test_damage_says_what_it_needs(body: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Damage.model_validate(body)
