from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from crm_simulator.crm import Clock, Crm
from crm_simulator.generator import generate
from crm_simulator.schema import OBJECTS
from tests.simulator.conftest import START, Simulator


def data_set(seed: int) -> dict[str, list[list[str | None]]]:
    crm = Crm(clock=Clock(lambda: START))
    generate(crm, accounts=40, territories=3, seed=seed)
    return {name: [record.values for record in table.records.values()] for name, table in crm.tables.items()}


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert data_set(3) == data_set(3)
    assert data_set(3) != data_set(4)


@pytest.mark.processes
def test_the_names_do_not_depend_on_the_process() -> None:
    program = "from crm_simulator.vocabulary import countries; print(countries(1))"
    printed = {
        subprocess.check_output([sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_every_reference_points_to_an_existing_row(simulator: Simulator) -> None:
    for name, table in simulator.crm.tables.items():
        for field in OBJECTS[name].references:
            assert field.ref is not None
            for record in table.records.values():
                value = table.get(record, field.name)
                assert value is None or simulator.crm.tables[field.ref].live(value) is not None, (name, field.name)


def test_a_contact_is_linked_to_its_own_account_and_some_to_a_second_one(simulator: Simulator) -> None:
    contacts = simulator.records("Contact")
    assert all(row["AccountId"] in row["accounts"] for row in contacts)
    assert 0 < sum(len(row["accounts"]) == 2 for row in contacts) < len(contacts) / 4


def test_the_generated_data_has_the_difficulties_of_real_data(simulator: Simulator) -> None:
    accounts = simulator.records("Account")
    names = "".join(row["AccountName"] for row in accounts)
    assert any(letter in names for letter in "äöüéèłå")
    assert "&" in names
    assert any(row["Industry"] is None for row in accounts)
    assert max(Counter(row["ModifiedDate"] for row in simulator.records("Activity")).values()) > 50
    assert any("." in (row["Revenue"] or "") for row in simulator.records("Opportunity"))
    assert {row["Activity"] for row in simulator.records("Activity")} == {"Task", "Appointment"}


def test_the_log_starts_with_a_few_recent_events(simulator: Simulator) -> None:
    log = simulator.crm.tables["ModificationTracking"]
    stamps = [log.get(record, "ModifiedDate") or "" for record in log.records.values()]
    assert 5 <= len(stamps) <= 50
    assert min(stamps) > "2026-05-24"


def test_ids_are_unique_across_objects_and_not_ordered(simulator: Simulator) -> None:
    ids = [id_ for table in simulator.crm.tables.values() for id_ in table.records]
    assert len(ids) == len(set(ids))
    assert ids != sorted(ids)
