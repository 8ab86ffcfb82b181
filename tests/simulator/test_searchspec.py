from __future__ import annotations

import pytest

from crm_simulator.records import Record
from crm_simulator.schema import OPPORTUNITY
from crm_simulator.searchspec import SearchSpecError, parse, parse_template, predicate, typed

VALUES = {
    "OpportunityName": "Müller's 50% *deal*",
    "Status": "Pending",
    "Revenue": "120000.50",
    "CloseDate": "2026-03-01",
    "ModifiedDate": "2026-03-01T08:00:00Z",
    "ReassignOwnerFlag": "true",
}
RECORD = Record("1", [VALUES.get(field.name) for field in OPPORTUNITY.stored])


def holds(text: str, template_field: str | None = None) -> bool:
    node = typed(parse_template(template_field, text) if template_field else parse(text), OPPORTUNITY)
    positions = OPPORTUNITY.position
    return predicate(node, OPPORTUNITY, lambda name: lambda record: record.values[positions[name]])(RECORD)


@pytest.mark.parametrize(
    "text",
    [
        "[Status] = 'Pending'",
        "[Status] ~= 'PENDING'",
        "[Status] <> 'Won'",
        "([Status] = 'Won') OR ([Revenue] >= '120000.5')",
        "([Status] = 'Pending') AND (([Revenue] < '9') OR ([Revenue] > '99999'))",
        "([Status] = 'Won') AND ([Status] = 'Lost') OR ([Status] = 'Pending')",
        "[OpportunityName] = 'Müller''s 50% *deal*'",
        "[OpportunityName] LIKE 'M?ller*'",
        r"[OpportunityName] LIKE '* \*deal\*'",
        "[OpportunityName] ~LIKE 'mÜLLER*'",
        "[ModifiedDate] >= '2026-03-01T09:00:00+01:00'",
        "[ModifiedDate] < '03/01/2026 08:00:01'",
        "[CloseDate] = '2026-03-01'",
        "[ReassignOwnerFlag] = 'Y'",
        "[KeyContactId] IS NULL",
        "[Status] is not null",
    ],
)
def test_a_true_search_specification_matches(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "[Status] = 'pending'",
        "[Status] LIKE 'pend*'",
        r"[OpportunityName] LIKE '\*deal'",
        "[OpportunityName] = 'M*'",
        "[Revenue] > '120000.50'",
        "[KeyContactId] = ''",
        "[KeyContactId] <> 'x'",
        "[ModifiedDate] > '2026-03-01T08:00:00Z'",
    ],
)
def test_a_false_search_specification_does_not_match(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Status]",
        "[Status] = Pending",
        "[Status] = 'a' AND",
        "([Status] = 'a'",
        "[Status] = 'a') OR ([Status] = 'b'",
        "Status = 'a'",
        "[Status] LIKE",
        "[Status] = 'it's'",
        "[Nowhere] = 'a'",
        "[Revenue] > 'much'",
        "[ModifiedDate] > 'yesterday'",
        "EXISTS ([Id] = 'a')",
        "(" * 5000 + "[Id] = 'a'" + ")" * 5000,
    ],
)
def test_an_invalid_search_specification_is_refused(text: str) -> None:
    with pytest.raises(SearchSpecError):
        holds(text)


def test_the_text_of_a_field_element_is_a_criterion_for_that_field() -> None:
    assert holds("> '100'", "Revenue")
    assert holds(" ='Pending'", "Status")
    assert holds("'Pending'", "Status")
    assert holds("Pending", "Status")
    assert holds("LIKE 'P*' AND <> 'Planned'", "Status")
    assert holds("IS NULL", "KeyContactId")
    assert not holds("= 'Won'", "Status")
