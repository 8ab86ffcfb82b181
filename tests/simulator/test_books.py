from __future__ import annotations

import pytest

from tests.simulator.conftest import Answer, Simulator, make_simulator

BOOKS = "<Id/><ListOfBook pagesize='100'><Book><BookId/><BookName/><BookType/><Primary/></Book></ListOfBook>"


@pytest.fixture
def simulator() -> Simulator:
    return make_simulator(books=4)


def book(simulator: Simulator, name: str) -> str:
    return next(str(row["Id"]) for row in simulator.records("Book") if row["BookName"] == name)


def names(simulator: Simulator, account: str) -> list[str]:
    [row] = simulator.records("Account", ids=account)
    known = {row["Id"]: row["BookName"] for row in simulator.records("Book")}
    return sorted(known[id_] for id_ in row["books"])


def limited(simulator: Simulator, name: str, *arguments: str) -> Answer:
    listed = f'<ListOf{name} pagesize="100"><{name}><Id/></{name}></ListOf{name}>'
    return Answer(simulator.send(f"<{name}QueryPage_Input>{listed}{''.join(arguments)}</{name}QueryPage_Input>"))


def test_books_do_not_change_the_other_objects(simulator: Simulator) -> None:
    plain = make_simulator()
    assert plain.records("Book") == []
    for name in ("Territory", "User", "Opportunity", "Activity", "Order"):
        assert plain.records(name) == simulator.records(name)
    for name in ("Account", "Contact"):
        assert plain.records(name) == [
            {key: value for key, value in row.items() if key != "books"} for row in simulator.records(name)
        ]


def test_books_form_a_tree_and_contain_every_account(simulator: Simulator) -> None:
    books = {row["BookName"]: row for row in simulator.records("Book")}
    assert sorted(books) == ["B001", "B002", "B003", "B004", "Books 01"]
    assert books["B001"]["ParentBookName"] == "Books 01"
    assert books["Books 01"]["CanContainDataFlag"] == "false"
    held = [len(row["books"]) for row in simulator.records("Account")]
    assert set(held) == {1, 2}


def test_the_books_of_an_account_are_a_child_list(simulator: Simulator) -> None:
    account = next(row for row in simulator.records("Account") if len(row["books"]) == 2)
    answer = simulator.query("Account", BOOKS, f"[Id] = '{account['Id']}'")
    rows = [{cell.tag.rpartition("}")[2]: cell.text or "" for cell in row} for row in answer.rows_element[0][1]]
    assert sorted(row["BookId"] for row in rows) == account["books"]
    assert sorted(row["Primary"] for row in rows) == ["false", "true"]
    assert all(row["BookName"] and row["BookType"] for row in rows)


def test_a_query_can_be_limited_to_a_book_by_id_or_name(simulator: Simulator) -> None:
    id_ = book(simulator, "B002")
    for name in ("Account", "Contact"):
        expected = {row["Id"] for row in simulator.records(name) if id_ in row["books"]}
        assert expected
        for argument in (f"<BookId>{id_}</BookId>", "<BookName>B002</BookName>"):
            assert set(limited(simulator, name, argument).ids) == expected


def test_sub_books_are_included_on_request(simulator: Simulator) -> None:
    named = "<BookName>Books 01</BookName>"
    assert limited(simulator, "Account", named).ids == []
    assert len(limited(simulator, "Account", named, "<IncludeSubBooks>true</IncludeSubBooks>").ids) == 60


def test_an_unknown_or_forbidden_book_is_refused(simulator: Simulator) -> None:
    assert "SBL-EAI-04471" in limited(simulator, "Account", "<BookName>nowhere</BookName>").fault
    simulator.control("visibility", object="Book", ids=[book(simulator, "B001")])
    assert "SBL-EAI-04471" in limited(simulator, "Account", "<BookName>B001</BookName>").fault


def assigned(simulator: Simulator, mode: str, **body: object) -> list[str]:
    """The books of one account that was in B001 and B002 after an assignment."""
    account = simulator.records("Account")[0]["Id"]
    simulator.control("books", ids=[account], mode="remove_all", events="none")
    for name in ("B001", "B002"):
        simulator.control("books", ids=[account], mode="add", book=name, events="none")
    before = simulator.record("Account", account)
    simulator.control("books", ids=[account], mode=mode, **body)
    after = simulator.record("Account", account)
    assert {**after, "books": None} == {**before, "books": None}
    return names(simulator, account)


def test_the_batch_tool_changes_books_without_modifying_the_account(simulator: Simulator) -> None:
    for name, type_ in (("B001", "One"), ("B002", "Two"), ("B003", "Two")):
        simulator.control("update", object="Book", id=book(simulator, name), fields={"BookType": type_})
    assert assigned(simulator, "add", book="B003") == ["B001", "B002", "B003"]
    assert assigned(simulator, "replace_type", book="B003") == ["B001", "B003"]
    assert assigned(simulator, "replace_all", book="B003") == ["B003"]
    assert assigned(simulator, "replace_book", book="B003", replaced="B001") == ["B002", "B003"]
    assert assigned(simulator, "replace_book", book="B003", replaced="B004") == ["B001", "B002"]
    assert assigned(simulator, "remove", book="B001") == ["B002"]
    assert assigned(simulator, "remove_all") == []


@pytest.mark.parametrize(
    ("events", "expected"),
    [("associate", ["Dissociate", "Associate"]), ("write", ["DeleteRecord", "WriteRecordNew"]), ("none", [])],
)
def test_a_book_assignment_writes_child_events_or_none(simulator: Simulator, events: str, expected: list[str]) -> None:
    account = simulator.records("Account")[0]["Id"]
    simulator.control("books", ids=[account], mode="replace_all", book="B001", events="none")
    result = simulator.control("books", ids=[account], mode="replace_all", book="B002", events=events)
    assert [event["EventName"] for event in simulator.events()] == expected
    assert {(e["ObjectName"], e["ObjectId"], e["ChildName"]) for e in simulator.events()} <= {
        ("Account", account, "AccountBook")
    }
    assert set(result["touched"]["Account"]) == {account}
    if events == "associate":
        assert [e["ChildId"] for e in simulator.events()] == [book(simulator, "B001"), book(simulator, "B002")]


@pytest.mark.parametrize("events", ["associate", "none"])
def test_time_based_books_start_and_end_when_the_procedure_runs(simulator: Simulator, events: str) -> None:
    account = simulator.records("Account")[0]["Id"]
    simulator.control("books", ids=[account], mode="replace_all", book="B001", events="none")
    simulator.control(
        "books/timed", id=account, book="B002", start="2026-05-30T00:00:00Z", end="2026-06-02T00:00:00Z", primary=True
    )
    simulator.control("books/procedure", events=events)
    assert names(simulator, account) == ["B001"]
    simulator.control("clock", advance_seconds=2 * 86_400)
    assert names(simulator, account) == ["B001"], "nothing happens before the procedure runs"
    for _ in range(2):
        simulator.control("books/procedure", events=events)
    assert names(simulator, account) == ["B001", "B002"]
    simulator.control("clock", advance_seconds=4 * 86_400)
    simulator.control("books/procedure", events=events)
    assert names(simulator, account) == ["B001"]
    assert [e["EventName"] for e in simulator.events()] == ["Associate", "Dissociate"] * (events == "associate")


def test_after_a_merge_the_survivor_is_in_the_books_of_both_accounts(simulator: Simulator) -> None:
    one, other = (row["Id"] for row in simulator.records("Account")[:2])
    simulator.control("books", ids=[one], mode="replace_all", book="B001")
    simulator.control("books", ids=[one, other], mode="add", book="B002")
    simulator.control("books", ids=[other], mode="add", book="B003")
    expected = sorted({*names(simulator, one), *names(simulator, other)})
    simulator.control("merge", object="Account", survivor=one, duplicate=other)
    assert names(simulator, one) == expected
    answer = simulator.query("Account", BOOKS, f"[Id] = '{one}'")
    primaries = [cell.text for cell in answer.root.iter("{*}Primary")]
    assert (len(primaries), primaries.count("true")) == (len(expected), 1)


def test_a_deleted_book_disappears_from_every_account(simulator: Simulator) -> None:
    id_ = book(simulator, "B001")
    simulator.control("delete", object="Book", id=id_)
    assert not any(id_ in row["books"] for row in simulator.records("Account"))
    answer = simulator.query("Account", BOOKS, pagesize=100)
    assert id_ not in {cell.text for cell in answer.root.iter("{*}BookId")}
