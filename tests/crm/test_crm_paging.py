"""Reading all rows while they change, and reading rows by id."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from orchestration.crm import MODIFICATION_TRACKING, CrmAnswerError, CrmClient, CrmTooHeavy, Query
from orchestration.crm.ahead import ReadAhead
from orchestration.crm.paging import walk
from tests.crm.wire import CONTACT, LINKED, Asked, FakeCrm, manager_fault, page, row

Connect = Callable[..., CrmClient]


class Table:
    """The rows of a CRM, queried again for each page; ``between`` runs before every answer."""

    def __init__(self, count: int) -> None:
        self.ids = [f"1-{n:05}" for n in range(count)]
        self.between: Callable[[], None] = lambda: None

    def __call__(self, asked: Asked) -> bytes:
        self.between()
        ids = sorted(set(asked.ids) & set(self.ids)) if asked.ids else sorted(self.ids)
        part = ids[asked.start : asked.start + asked.page_size]
        return page(*map(row, part), last=asked.start + asked.page_size >= len(ids))


def ids_of(client: CrmClient) -> list[str]:
    return [r.id for found in client.read(Query(CONTACT)) for r in found.rows]


def test_rows_of_many_pages_are_read_once_each(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Table(350)
    assert ids_of(client) == table.ids
    assert [asked.start for asked in crm.asked] == [0, 99, 198, 297]


@pytest.mark.parametrize("vanish", [1, 3, 99, 100, 150, 250])
def test_rows_deleted_between_pages_do_not_hide_other_rows(client: CrmClient, crm: FakeCrm, vanish: int) -> None:
    crm.answer = table = Table(400)
    everything = list(table.ids)

    def between() -> None:
        if len(crm.asked) == 4:  # 298 rows were read
            del table.ids[:vanish]

    table.between = between
    assert ids_of(client) == everything


def test_reading_continues_when_the_last_row_seen_is_deleted(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Table(250)
    everything = list(table.ids)
    table.between = lambda: table.ids.remove("1-00099") if len(crm.asked) == 2 else None
    assert ids_of(client) == everything
    assert [asked.start for asked in crm.asked[:3]] == [0, 99, 0]


def test_rows_inserted_before_the_current_position_are_handled(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Table(250)
    before = set(table.ids)
    table.between = lambda: table.ids.extend(f"0-{n}" for n in range(150)) if len(crm.asked) == 3 else None
    found = ids_of(client)
    assert before <= set(found)
    assert len(found) == len(set(found))


class Part(list[str]):
    last = False

    @property
    def received(self) -> int:
        return len(self)


class Churn:
    """A table that changes at random before each answer."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.size = self.chance.choice([2, 3, 5, 10])
        self.rows = set(self.chance.sample(range(1000), self.chance.randrange(60)))
        self.throughout = set(self.rows)

    def __call__(self, start: int) -> Part:
        if self.chance.random() < 0.7:
            gone = self.chance.sample(sorted(self.rows), min(len(self.rows), self.chance.randrange(4)))
            self.rows.difference_update(gone)
            self.throughout.difference_update(gone)
            self.rows.update(self.chance.sample(range(1000), self.chance.randrange(3)))
        part = Part(f"{n:03}" for n in sorted(self.rows)[start : start + self.size])
        part.last = start + self.size >= len(self.rows)
        return part


def test_a_row_that_exists_throughout_is_never_lost() -> None:
    """The algorithm alone, on thousands of random histories."""
    for seed in range(3000):
        table = Churn(seed)
        found = [key for _, fresh in walk(table, list, table.size) for key in fresh]
        assert len(found) == len(set(found))
        assert {f"{n:03}" for n in table.throughout} <= set(found), seed


class AnyTime(Executor):
    """Runs a function at once, or only when its result is needed."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.submitted: list[tuple[int, int]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.submitted.append((args[0], args[1]))
        done = fn(*args) if self.chance.random() < 0.5 else None
        result: Any = future
        result.result = lambda: done if done is not None else fn(*args)
        return future


def test_no_row_is_lost_when_pages_are_fetched_ahead_in_any_order() -> None:
    """On random histories; a page fetched ahead may be much older or newer than the page before it."""
    fetched_ahead = 0
    for seed in range(3000):
        table = Churn(seed)

        def fetch(row: int, _: int, table: Churn = table) -> Part:
            return table(row)

        executor = AnyTime(table.chance)
        ahead = ReadAhead(fetch, executor, 2, table.chance.randrange(1, 5))

        def ask(row: int, table: Churn = table, executor: AnyTime = executor, ahead: ReadAhead[Part] = ahead) -> Part:
            nonlocal fetched_ahead
            before = len(executor.submitted)
            page = ahead(row, table.size, table.chance.randrange(5))
            # A page that was already requested is not submitted again.
            fetched_ahead += (row, table.size) not in executor.submitted[before:]
            return page

        found = [key for _, fresh in walk(ask, list, table.size) for key in fresh]
        assert len(found) == len(set(found))
        assert {f"{n:03}" for n in table.throughout} <= set(found), seed
    assert fetched_ahead > 3000


def test_pages_of_a_group_are_fetched_in_parallel_but_not_before_the_group_is_needed(
    connect: Connect, crm: FakeCrm
) -> None:
    table, together, sessions = Table(1000), threading.Barrier(2), 4

    def answer(asked: Asked) -> bytes:
        if not asked.ids and asked.start in (99, 198):
            together.wait(timeout=20)
        return table(asked)

    def starts() -> list[int]:
        return sorted(asked.start for asked in crm.asked if not asked.ids)

    with connect(sessions=sessions) as client:
        crm.answer = answer
        found = []
        for pages, part in enumerate(client.read(Query(CONTACT), group_pages=6), 1):
            found += [r.id for r in part.rows]
            if pages % 6 == 0:
                # The sessions take requests in order: with these answered, any page asked for before has been sent.
                client.read_ids(CONTACT, table.ids[: sessions * 50])
                assert len(starts()) == pages, "no page of the next group was requested"
    assert found == table.ids
    assert starts()[:11] == [99 * n for n in range(11)]
    assert len(starts()) <= 11 + 3


def test_all_sessions_fetch_from_the_start_of_a_group(connect: Connect, crm: FakeCrm) -> None:
    table, together = Table(1000), threading.Barrier(4)
    with connect(sessions=4) as client:
        client.count(Query(CONTACT))  # the first goes alone, until the credentials are proven
        crm.asked.clear()

        def answer(asked: Asked) -> bytes:
            if asked.start < 4 * 99:
                together.wait(timeout=20)
            return table(asked)

        crm.answer = answer
        assert [r.id for found in client.read(Query(CONTACT), group_pages=6) for r in found.rows] == table.ids


@pytest.mark.parametrize(
    ("rows", "groups", "requests"),
    [(100, {}, 1), (100, {"group_pages": 6, "expected_rows": 0}, 1), (100, {"group_pages": 6, "expected_rows": 100}, 1),
     (100, {"group_pages": 6, "expected_rows": 101}, 2), (100, {"group_pages": 6}, 4), (100, {"group_pages": 2}, 2),
     (1000, {}, 11), (1000, {"group_pages": 20, "expected_rows": 1000}, 14), (1000, {"group_pages": 20}, 14)],
)  # fmt: skip
def test_pages_past_the_end_are_requested_at_most_once_by_each_other_session(
    connect: Connect, crm: FakeCrm, rows: int, groups: dict[str, Any], requests: int
) -> None:
    table = Table(rows)

    def answer(asked: Asked) -> bytes:
        # Pages with rows take longer, so that those past the end are under way before the end is known.
        time.sleep(0.02 if asked.start < rows else 0)
        return table(asked)

    crm.answer = answer
    with connect(sessions=4) as client:
        assert [r.id for found in client.read(Query(CONTACT), **groups) for r in found.rows] == table.ids
    assert len(crm.asked) <= requests
    assert len({asked.start for asked in crm.asked}) == len(crm.asked)


def test_after_a_page_that_is_too_heavy_one_smaller_page_is_tried_before_fetching_ahead() -> None:
    table, asked = Table(1000), list[tuple[int, int]]()

    def fetch(row: int, size: int) -> Part:
        asked.append((row, size))
        if size > 50:
            raise CrmTooHeavy("too heavy")
        return Part(table.ids[row : row + size])

    with ThreadPoolExecutor(2) as executor:
        ahead = ReadAhead(fetch, executor, sessions=2, expected_pages=9)
        with pytest.raises(CrmTooHeavy):
            ahead(0, 100, more_pages=5)
        assert ahead(0, 50, more_pages=5) == table.ids[:50]
        assert [row for row, size in asked if size == 50] == [0]
        assert [row for row, size in asked if size == 100] in ([0], [0, 99])
        assert ahead(49, 50, more_pages=5) == table.ids[49:99]
    assert sorted(row for row, size in asked if size == 50) == [0, 49, 98, 147, 196]


def test_a_page_skipped_as_past_the_end_is_fetched_when_it_is_needed() -> None:
    table = Table(60)

    def fetch(row: int, size: int) -> Part:
        part = Part(table.ids[row : row + size])
        part.last = row + size >= len(table.ids)
        return part

    with ThreadPoolExecutor(1) as executor:
        ahead = ReadAhead(fetch, executor, sessions=4, expected_pages=8)
        ahead(0, 10, more_pages=7)
        executor.submit(lambda: None).result()  # all pages to be fetched ahead have been fetched
        table.ids += [f"2-{n}" for n in range(10)]
        assert ahead(63, 10, more_pages=0) == table.ids[63:]


@pytest.mark.parametrize("count", [150, 250, 1000])
def test_rows_whose_order_changes_between_pages_are_an_error(client: CrmClient, crm: FakeCrm, count: int) -> None:
    rows = [row(f"1-{n:05}") for n in range(count)]
    chance = random.Random(count)

    def answer(asked: Asked) -> bytes:
        chance.shuffle(rows)
        return page(*rows[asked.start : asked.start + 100], last=asked.start + 100 >= count)

    crm.answer = answer
    with pytest.raises(CrmAnswerError, match="one order"):
        list(client.read(Query(CONTACT)))


def test_pages_that_never_overlap_are_an_error(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda asked: page(*(row(f"{len(crm.asked)}-{n}") for n in range(100)), last=False)
    with pytest.raises(CrmAnswerError, match="one order"):
        list(client.read(Query(CONTACT)))


def test_no_row_is_lost_after_a_short_page_that_is_not_the_last(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(page(*(row(f"1-{n:05}") for n in range(42)), last=False))
    crm.answer = table = Table(130)
    assert ids_of(client) == table.ids
    assert crm.asked[1].start == 41


def test_reading_all_rows_sorted_by_another_field_than_id_is_refused(client: CrmClient) -> None:
    with pytest.raises(ValueError, match="Id"):
        next(client.read(Query(CONTACT, sort_field="ModifiedDate")))


def test_quarantined_rows_are_reported_once_and_count_as_read(client: CrmClient, crm: FakeCrm) -> None:
    bad = row("1-00099", "<Visits>x</Visits>")
    first, second = page(*(row(f"1-{n:05}") for n in range(99)), bad, last=False), page(bad, row("2"))
    crm.say(first, first, second, second)
    pages = list(client.read(Query(CONTACT)))
    assert [d.row_id for found in pages for d in found.quarantined] == ["1-00099"]
    assert sum(len(found.rows) for found in pages) == 100


def test_quarantined_rows_keep_their_place_in_the_order(client: CrmClient, crm: FakeCrm) -> None:
    table = Table(250)
    bad = {row_id: row(row_id, "<Visits>x</Visits>") for row_id in table.ids[::7]}

    def answer(asked: Asked) -> bytes:
        if len(crm.asked) == 5:  # each page with a bad row is requested twice
            table.ids.remove("1-00198")
        part = table.ids[asked.start : asked.start + 100]
        return page(*(bad.get(i) or row(i) for i in part), last=asked.start + 100 >= len(table.ids))

    crm.answer = answer
    pages = list(client.read(Query(CONTACT)))
    assert sorted(d.row_id or "" for found in pages for d in found.quarantined) == sorted(bad)
    assert sum(len(found.rows) for found in pages) == 250 - len(bad)


@pytest.mark.parametrize(("start", "size"), [(-1, 100), (0, 0), (0, 101)])
def test_a_page_out_of_bounds_is_refused_without_a_request(
    client: CrmClient, crm: FakeCrm, start: int, size: int
) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        client.query_page(Query(CONTACT), start, size)
    assert crm.asked == []


def test_rows_are_read_by_id_fifty_at_a_time(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Table(300)
    found = client.read_ids(CONTACT, [*table.ids[:120], "gone", table.ids[0]])
    assert sorted(r.id for r in found.rows) == table.ids[:120]
    assert sorted(len(asked.ids) for asked in crm.asked) == [21, 50, 50]
    assert client.operations_spent == 3


def test_an_empty_list_of_ids_sends_no_request(client: CrmClient, crm: FakeCrm) -> None:
    assert client.read_ids(CONTACT, []).rows == []
    assert crm.asked == []


@pytest.mark.parametrize(
    "codes", [("SBL-DBC-00112",), ("SBL-EAI-04376", "SBL-DAT-00407"), ("SBL-EAI-04376",)], ids=lambda codes: codes[-1]
)
@pytest.mark.parametrize("limit", [10, 30])
def test_a_list_of_ids_that_is_too_heavy_is_halved(
    client: CrmClient, crm: FakeCrm, codes: tuple[str, ...], limit: int
) -> None:
    table = Table(60)
    crm.answer = lambda asked: manager_fault(*codes) if len(asked.ids) > limit else table(asked)
    assert sorted(r.id for r in client.read_ids(CONTACT, table.ids).rows) == table.ids


def test_a_list_of_ten_ids_is_not_halved(connect: Connect, crm: FakeCrm) -> None:
    client = connect(sessions=1)
    crm.answer = lambda _: manager_fault("SBL-DBC-00112")
    with pytest.raises(CrmTooHeavy):
        client.read_ids(CONTACT, Table(50).ids)
    # Ten are asked for again with pauses; then their ids alone, in case one row is at fault.
    assert [len(asked.ids) for asked in crm.asked] == [50, 25, 12, *[10] * 8]


def test_lists_of_ids_are_read_in_parallel_by_all_sessions(connect: Connect, crm: FakeCrm) -> None:
    client = connect(sessions=3)
    table = Table(200)
    client.read_ids(CONTACT, table.ids[:1])  # the first goes alone, until the credentials are proven
    together = threading.Barrier(3)

    def answer(asked: Asked) -> bytes:
        together.wait(timeout=20)
        return table(asked)

    crm.answer = answer
    assert len(client.read_ids(CONTACT, table.ids[:150]).rows) == 150


def test_requests_held_back_for_the_first_login_run_in_parallel_after_it(connect: Connect, crm: FakeCrm) -> None:
    table, first, together = Table(200), threading.Event(), threading.Barrier(2)

    def answer(asked: Asked) -> bytes:
        if first.is_set():
            together.wait(timeout=20)
        first.set()
        # Gives the others time to reach the gate; where they come later, the test is easier and passes as well.
        time.sleep(0.1)
        return table(asked)

    crm.answer = answer
    assert len(connect(sessions=3).read_ids(CONTACT, table.ids[:150]).rows) == 150
    assert not together.broken


def test_one_failing_query_fails_the_whole_reading(client: CrmClient, crm: FakeCrm) -> None:
    table = Table(200)
    crm.answer = lambda asked: manager_fault("SBL-EAI-04316") if "1-00060" in asked.ids else table(asked)
    with pytest.raises(Exception, match="SBL-EAI-04316"):
        client.read_ids(CONTACT, table.ids)


def test_rows_that_were_not_requested_are_an_error(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: page(row("1"), row("2"))
    with pytest.raises(CrmAnswerError, match="1 rows came"):
        client.read_ids(CONTACT, ["1"])


def test_rows_selected_by_a_field_are_read_in_pages(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Table(250)
    found = client.read_where(CONTACT, "Name", ["O'Neil"])
    assert len(found.rows) == 250
    assert crm.asked[0].searchspec == "[Name] = 'O''Neil'"
    assert len(crm.asked) == 3
    assert table.ids == sorted(r.id for r in found.rows)


# Child lists


def contact(row_id: str, *accounts: str, last: str = "true") -> str:
    links = "".join(f"<Account><AccountId>{a}</AccountId></Account>" for a in accounts)
    return row(row_id, f'<ListOfAccount lastpage="{last}">{links}</ListOfAccount>')


def test_links_are_sorted_and_without_duplicates(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(page(contact("1", "b", "a", "b"), contact("2"), row("3")))
    rows = client.query_page(Query(LINKED), 0).rows
    assert [r.links for r in rows] == [{"ListOfAccount": ("a", "b")}, {"ListOfAccount": ()}, {"ListOfAccount": ()}]
    assert client.operations_spent == 1 + 3


def test_a_link_without_a_parent_id_quarantines_the_row(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: page(row("1", '<ListOfAccount lastpage="true"><Account/></ListOfAccount>'))
    (defect,) = client.query_page(Query(LINKED), 0).quarantined
    assert defect.field == "ListOfAccount.AccountId"


class Links:
    """One contact with many links; ``between`` runs before every answer."""

    def __init__(self, count: int, say_last: bool = True) -> None:
        self.accounts = [f"A-{n:04}" for n in range(count)]
        self.say_last = say_last
        self.between: Callable[[], None] = lambda: None

    def __call__(self, asked: Asked) -> bytes:
        self.between()
        (children,) = asked.rows()[0].iter("{*}ListOfAccount")
        start, size = int(children.get("startrownum", "")), int(children.get("pagesize", ""))
        last = str(start + size >= len(self.accounts)).lower()
        text = contact("1", *self.accounts[start : start + size], last=last)
        return page(text if self.say_last else text.replace(f' lastpage="{last}"', "", 1))


@pytest.mark.parametrize("say_last", [True, False])
@pytest.mark.parametrize("count", [1, 100, 101, 350])
def test_a_child_list_is_read_to_its_end(client: CrmClient, crm: FakeCrm, count: int, say_last: bool) -> None:
    crm.answer = table = Links(count, say_last)
    (found,) = client.query_page(Query(LINKED), 0).rows
    assert found.links["ListOfAccount"] == tuple(table.accounts)
    assert client.operations_spent == 2 * len(crm.asked)
    for asked in crm.asked[1:]:
        assert asked.searchspec == "[Id] = '1'"
        assert next(asked.root.iter("{*}AccountId")).get("sortorder") == "ASC"


def test_links_deleted_while_they_are_read_do_not_hide_other_links(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Links(350)
    everything = set(table.accounts)
    table.between = lambda: table.accounts.__delitem__(slice(0, 5)) if len(crm.asked) == 4 else None
    (found,) = client.query_page(Query(LINKED), 0).rows
    assert set(found.links["ListOfAccount"]) == everything


def test_a_row_deleted_while_its_links_are_read_is_left_out(client: CrmClient, crm: FakeCrm) -> None:
    crm.say(page(contact("1", "a", last="false"), contact("2", "a")), page())
    assert [r.id for r in client.query_page(Query(LINKED), 0).rows] == ["2"]


def test_a_row_with_an_endless_empty_child_list_is_put_aside(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = lambda _: page(contact("1", last="false"))
    found = client.query_page(Query(LINKED), 0)
    assert found.rows == []
    assert [(defect.row_id, defect.field) for defect in found.quarantined] == [("1", "ListOfAccount")]


def test_the_modification_log_can_be_queried_like_an_object() -> None:
    query = Query(MODIFICATION_TRACKING)
    assert list(query.types)[:3] == ["Id", "ObjectName", "ObjectId"]
    assert "ModId" not in query.types


def test_an_interrupted_reading_resumes_and_steps_back_until_pages_overlap(client: CrmClient, crm: FakeCrm) -> None:
    crm.answer = table = Table(250)
    everything, seen = list(table.ids), table.ids[:120]
    del table.ids[:60]  # before reading resumes: row 119 has become row 59
    pages = client.read(Query(CONTACT), start_row=119, seen=seen)
    assert [r.id for found in pages for r in found.rows] == everything[120:]
    assert [asked.start for asked in crm.asked][:2] == [119, 19]
