from __future__ import annotations

import pytest

from tests.simulator.conftest import Record, Simulator


def seen(simulator: Simulator, name: str) -> set[str]:
    return {row["Id"] or "" for row in simulator.find_all(name, '<Id sortorder="ASC"/>')}


def test_a_hidden_row_is_missing_until_it_is_shown_again(simulator: Simulator) -> None:
    account, *others = (row["Id"] for row in simulator.records("Account"))
    version = simulator.record("Account", account)
    simulator.control("visibility", object="Account", ids=[account])
    assert seen(simulator, "Account") == set(others)
    assert simulator.query("Account", spec=f"[Id] = '{account}'").rows == []
    assert "SBL-EAI-04378" in simulator.write("Account", "Update", f"<Id>{account}</Id><Route/>").fault
    assert simulator.record("Account", account) == version
    assert account not in {row["Id"] for row in simulator.records("Account", seen="1")}
    assert simulator.events() == []
    simulator.control("visibility", object="Account", ids=[account], seen=True)
    assert seen(simulator, "Account") == {account, *others}


def test_links_to_a_hidden_account_are_hidden(simulator: Simulator) -> None:
    contact = next(row for row in simulator.records("Contact") if len(row["accounts"]) == 2)
    hidden, left = contact["accounts"]
    simulator.control("visibility", object="Account", ids=[hidden])
    fields = "<ListOfAccount><Account><AccountId/></Account></ListOfAccount>"
    answer = simulator.query("Contact", fields, f"[Id] = '{contact['Id']}'")
    assert [cell.text for cell in answer.root.iter("{*}AccountId")] == [left]


def test_hiding_a_territory_hides_everything_below_its_accounts(simulator: Simulator) -> None:
    territory = next(row["Id"] for row in simulator.records("Territory") if row["TerritoryName"] == "T001")
    hidden = {row["Id"] for row in simulator.records("Account", territory=territory)}
    simulator.control("visibility", territory="T001")
    assert seen(simulator, "Account") == {row["Id"] for row in simulator.records("Account")} - hidden
    for name, key in (("Opportunity", "AccountId"), ("Activity", "AccountId"), ("Order", "BusinessAccountId")):
        assert seen(simulator, name) == {row["Id"] for row in simulator.records(name) if row[key] not in hidden}
    contacts = {row["Id"] for row in simulator.records("Contact") if not set(row["accounts"]) <= hidden}
    assert seen(simulator, "Contact") == contacts
    moved = sorted(hidden)[0]
    simulator.control("realign", accounts=[moved], to="T002")
    assert moved in seen(simulator, "Account")


@pytest.mark.parametrize(
    ("answer", "code"), [("empty", None), ("denied", "SBL-DAT-00553"), ("unavailable", "SBL-ODU-01011")]
)
def test_an_object_can_be_empty_denied_or_unavailable(simulator: Simulator, answer: str, code: str | None) -> None:
    simulator.control("visibility", object="Order", answer=answer)
    if code is None:
        assert simulator.query("Order").rows == []
    else:
        assert code in simulator.query("Order").fault
    assert len(simulator.query("Account").rows) == 10
    simulator.control("visibility", seen=True)
    assert len(simulator.query("Order").rows) == 10


@pytest.mark.parametrize(
    "body", [{}, {"ids": ["x"]}, {"object": "Account", "territory": "T001"}, {"object": "Nonsense"}]
)
def test_a_rule_that_hides_nothing_is_refused(simulator: Simulator, body: Record) -> None:
    assert simulator.control("visibility", 400, **body)["error"]


def test_a_hidden_field_comes_back_blank_and_is_kept(simulator: Simulator) -> None:
    account = simulator.records("Account")[0]
    assert account["TerritoryId"]
    asked = ("Account", "<Id/><AccountName/><TerritoryId/>", f"[Id] = '{account['Id']}'")
    simulator.control("visibility", object="Account", field="TerritoryId")
    (row,) = simulator.query(*asked).rows
    assert not row.get("TerritoryId")
    assert row["AccountName"] == account["AccountName"]
    assert simulator.record("Account", account["Id"]) == account
    simulator.control("visibility", object="Account", field="TerritoryId", seen=True)
    (row,) = simulator.query(*asked).rows
    assert row["TerritoryId"] == account["TerritoryId"]
