"""The guard, a test for each row of its table: what is proven is published, what is doubtful is held beyond a share."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.crm.services import DeletedItem
from orchestration.pipeline.alignment import announce
from orchestration.pipeline.alignment_file import Move
from orchestration.pipeline.decisions import Decision, release
from orchestration.pipeline.guard import Guard
from orchestration.pipeline.warehouse import transaction
from tests.pipeline.guarded import ACCOUNTS, CATALOG, GuardedPipeline, accounts, orders

HALF = accounts("T1", range(ACCOUNTS // 2))
ALL = accounts("T1", range(ACCOUNTS))


@pytest.fixture
def pipeline(tmp_path: Path) -> GuardedPipeline:
    return GuardedPipeline(tmp_path)


@pytest.mark.parametrize("share", [0.45, 1.0])
def test_a_move_to_a_known_territory_is_published_however_large(pipeline: GuardedPipeline, share: float) -> None:
    moved = ALL[: int(share * ACCOUNTS)]
    pipeline.move(moved, "T2")
    result = pipeline.run()
    assert result is not None
    assert (result.deleted, result.inserted) == (2 * len(moved), 2 * len(moved))
    assert pipeline.held() == {}


def test_children_that_move_to_a_known_parent_are_published_however_many(pipeline: GuardedPipeline) -> None:
    for account in ALL:
        pipeline.put("Order", f"O-{account}", BusinessAccountId="T2-00")
    pipeline.run()
    assert pipeline.visible("T1", "order") == set()
    assert pipeline.held() == {}


@pytest.mark.parametrize("proof", ["event", "deleted items"])
def test_a_proven_delete_is_published_however_large_with_all_that_hung_on_it(
    pipeline: GuardedPipeline, proof: str
) -> None:
    for account in ALL:
        del pipeline.crm.tables["Account"][account], pipeline.crm.tables["Order"][f"O-{account}"]
        if proof == "deleted items":
            pipeline.crm.deleted.append(DeletedItem("Account", account, pipeline.crm.now))
    if proof == "event":
        pipeline.tell("Account", ALL, "DeleteRecord")
    pipeline.run()
    assert pipeline.visible("T1") == pipeline.visible("T1", "order") == set()
    assert pipeline.held() == {}
    assert set(pipeline.query("SELECT DISTINCT _state FROM snapshot.order WHERE BusinessAccountId LIKE 'T1%'")) == {
        ("deleted",)
    }


def test_links_that_go_while_others_stay_are_published(pipeline: GuardedPipeline) -> None:
    for account in ALL:
        both = {"ListOfAccount": (account, "T2-00")}
        pipeline.put("Contact", f"C-{account}", _links=both)
        pipeline.tell("Contact", [f"C-{account}"], "WriteRecordNew")
    pipeline.run()
    assert len(pipeline.visible("T1", "contact")) == ACCOUNTS
    for account in ALL:
        pipeline.put("Contact", f"C-{account}", _links={"ListOfAccount": ("T2-00",)})
        pipeline.tell("Contact", [f"C-{account}"])
    pipeline.run()
    assert pipeline.visible("T1", "contact") == set()
    assert pipeline.held() == {}


def test_links_to_rows_out_of_sight_stay_with_them_and_come_back_with_them(pipeline: GuardedPipeline) -> None:
    """Each contact is linked to T2 as well, where it stays in sight; its list lacks the account that vanished."""
    contacts = [f"C-{account}" for account in ALL]
    for account, contact in zip(ALL, contacts, strict=True):
        pipeline.put("Contact", contact, AccountId="T2-00", _links={"ListOfAccount": (account, "T2-00")})
    pipeline.tell("Contact", contacts, "WriteRecordNew")
    pipeline.run()
    gone = {account: pipeline.crm.tables["Account"].pop(account) for account in ALL}
    for contact in contacts:
        pipeline.put("Contact", contact, _links={"ListOfAccount": ("T2-00",)})
    pipeline.tell("Contact", contacts)  # nobody has asked for the accounts yet
    pipeline.run()
    assert set(contacts) <= pipeline.visible("T1", "contact")
    assert {pipeline.held()[contact] for contact in contacts} == {"unlinked"}
    assert {pipeline.held()[account] for account in ALL} == {"vanished"}
    # An event about the accounts alone: their contacts are asked for as well.
    pipeline.crm.tables["Account"].update(gone)
    for account, contact in zip(ALL, contacts, strict=True):
        pipeline.put("Contact", contact, _links={"ListOfAccount": (account, "T2-00")})
    pipeline.tell("Account", ALL)
    pipeline.run()
    assert pipeline.held() == {}
    assert pipeline.query("SELECT count(*) FROM territory_delta WHERE operation = 'delete'") == [(0,)]


def linked_out_of_sight(pipeline: GuardedPipeline) -> list[str]:
    """Contacts of T2 that are linked to accounts of T1 as well, which are held since they went out of sight."""
    contacts = [f"C-{account}" for account in ALL]
    for account, contact in zip(ALL, contacts, strict=True):
        pipeline.put("Contact", contact, _links={"ListOfAccount": (account, "T2-00")})
    pipeline.tell("Contact", contacts, "WriteRecordNew")
    pipeline.run()
    pipeline.hide("Account", ALL)
    for contact in contacts:
        pipeline.put("Contact", contact, _links={"ListOfAccount": ("T2-00",)})
    pipeline.run()
    return contacts


def test_only_the_link_to_a_row_out_of_sight_is_held_and_the_rest_of_the_reading_is_published(
    pipeline: GuardedPipeline,
) -> None:
    contacts = linked_out_of_sight(pipeline)
    for contact in contacts:
        pipeline.put("Contact", contact, JobTitle="now in T3", _links={"ListOfAccount": ("T3-00",)})
    pipeline.tell("Contact", contacts)
    pipeline.run()
    assert set(contacts) <= pipeline.visible("T1", "contact")
    assert set(contacts) <= pipeline.visible("T3", "contact")
    assert pipeline.visible("T2", "contact") == set()
    assert {pipeline.held()[contact] for contact in contacts} == {"unlinked"}
    bodies = pipeline.query("SELECT body FROM row_content WHERE object = 'contact'")
    assert all("now in T3" in body for (body,) in bodies)
    # Read once more, nothing differs.
    pipeline.ask("contact", contacts)
    assert pipeline.run() is None


def test_a_contact_that_leaves_a_row_out_of_sight_for_one_in_sight_arrives_there(pipeline: GuardedPipeline) -> None:
    """One more example: all that it was linked to is out of sight."""
    contacts = [f"C-{account}" for account in ALL]
    for account, contact in zip(ALL, contacts, strict=True):
        pipeline.put("Contact", contact, _links={"ListOfAccount": (account,)})
    pipeline.tell("Contact", contacts, "WriteRecordNew")
    pipeline.run()
    pipeline.hide("Account", ALL)
    pipeline.run()
    for contact in contacts:
        pipeline.put("Contact", contact, _links={"ListOfAccount": ("T2-00",)})
    pipeline.tell("Contact", contacts)
    pipeline.run()
    assert set(contacts) <= pipeline.visible("T1", "contact")
    assert set(contacts) <= pipeline.visible("T2", "contact")
    # Released, they leave the territory that they are linked to no more.
    with pipeline.open() as connection, transaction(connection):
        release(connection, CATALOG, Decision("closed for good", "a test"), pipeline.now)
    pipeline.publish()
    assert pipeline.visible("T1", "contact") == set()
    assert set(contacts) <= pipeline.visible("T2", "contact")
    assert pipeline.held() == {}


def test_text_of_a_contact_that_is_shared_with_rows_out_of_sight_is_published(pipeline: GuardedPipeline) -> None:
    contacts = linked_out_of_sight(pipeline)
    for text in ("first", "second"):
        for contact in contacts:
            pipeline.put("Contact", contact, JobTitle=text)
        pipeline.tell("Contact", contacts)
        result = pipeline.run()
        assert result is not None
        assert (result.updated, result.deleted) == (2 * ACCOUNTS, 0)
    assert {pipeline.held()[contact] for contact in contacts} == {"unlinked"}


def test_rows_that_vanish_are_held_with_what_hangs_on_them_and_everything_else_is_published(
    pipeline: GuardedPipeline,
) -> None:
    pipeline.hide("Account", HALF)
    pipeline.put("Account", "T3-00", AccountName="renamed")
    pipeline.tell("Account", ["T3-00"])
    result = pipeline.run()
    assert result is not None
    assert (result.deleted, result.updated) == (0, 1)
    assert set(HALF) <= pipeline.visible("T1")
    assert pipeline.held() == dict.fromkeys(HALF, "vanished") | dict.fromkeys(orders(HALF))
    assert pipeline.held_counts() == {("T1", "account"): len(HALF), ("T1", "order"): len(HALF)}
    states = pipeline.query("SELECT row_id FROM snapshot.account WHERE _state = 'held'")
    assert {row_id for (row_id,) in states} == set(HALF)


def test_rows_that_name_each_other_and_vanish_are_asked_for_a_few_times_only(pipeline: GuardedPipeline) -> None:
    for account in HALF:
        pipeline.put("Contact", f"C-{account}", AccountId=account, _links={"ListOfAccount": (account,)})
        pipeline.put("Account", account, PrimaryContactId=f"C-{account}")
    pipeline.tell("Account", HALF)
    pipeline.tell("Contact", [f"C-{account}" for account in HALF], "WriteRecordNew")
    pipeline.run()
    pipeline.hide("Account", HALF)
    pipeline.crm.tables["Contact"].clear()
    pipeline.crm.asked.clear()
    pipeline.run()
    assert {pipeline.held()[f"C-{account}"] for account in HALF} == {"vanished"}
    assert len(pipeline.crm.asked) <= 6


def test_a_field_that_comes_back_blank_is_held(pipeline: GuardedPipeline) -> None:
    for account in HALF:
        pipeline.put("Account", account, TerritoryId=None, AccountName="blanked")
        pipeline.tell("Account", [account])
    pipeline.run()
    assert set(HALF) <= pipeline.visible("T1")
    assert {pipeline.held()[account] for account in HALF} == {"blanked"}
    # As if they had not been read.
    names = pipeline.query("SELECT DISTINCT AccountName LIKE 'Clinic%' FROM snapshot.account")
    assert names == [(True,)]


def test_a_childs_field_that_comes_back_blank_is_held(pipeline: GuardedPipeline) -> None:
    for account in ALL[:15]:
        pipeline.put("Order", f"O-{account}", BusinessAccountId=None)
    pipeline.run()
    assert len(pipeline.visible("T1", "order")) == ACCOUNTS
    assert pipeline.held() == dict.fromkeys(orders(ALL[:15]), "blanked")


def test_an_empty_list_is_held(pipeline: GuardedPipeline) -> None:
    contacts = [f"C-{account}-{n}" for account in ALL for n in (1, 2)]
    for contact in contacts:
        pipeline.put("Contact", contact, _links={"ListOfAccount": (contact[2:7],)})
    pipeline.tell("Contact", contacts, "WriteRecordNew")
    pipeline.run()
    assert len(pipeline.visible("T1", "contact")) == len(contacts)
    for contact in contacts:
        pipeline.put("Contact", contact, _links={"ListOfAccount": ()})
    pipeline.tell("Contact", contacts)
    pipeline.run()
    assert pipeline.held() == dict.fromkeys(contacts, "blanked")
    assert pipeline.query("SELECT count(*) FROM snapshot.contact_link WHERE NOT live") == [(0,)]


@pytest.mark.parametrize("target", ["account", "order"])
def test_a_name_that_nobody_knows_is_held_until_it_is_known(pipeline: GuardedPipeline, target: str) -> None:
    if target == "account":
        pipeline.move(HALF, "T9")
        rows = HALF
    else:
        rows = orders(ALL[:15])
        for row_id in rows:
            pipeline.put("Order", row_id, BusinessAccountId="T9-00")
    pipeline.run()
    assert {pipeline.held()[row_id] for row_id in rows} == {"unknown target"}
    pipeline.put("Territory", "T9", TerritoryName="New")
    pipeline.put("Account", "T9-00", TerritoryId="T9")
    pipeline.tell("Account", ["T9-00"], "WriteRecordNew")
    pipeline.run()
    assert pipeline.held() == {}
    assert set(rows) <= pipeline.visible("T9", target)


def test_books_that_nobody_knows_do_not_prove_that_a_list_was_read_whole(pipeline: GuardedPipeline) -> None:
    rows = [f"C-{account}-{n}" for account in ALL for n in (1, 2)]
    for row_id in rows:
        pipeline.put("Contact", row_id, _links={"ListOfAccount": (row_id[2:7],)})
    pipeline.tell("Contact", rows, "WriteRecordNew")
    pipeline.run()
    for row_id in rows:
        pipeline.put("Contact", row_id, _links={"ListOfAccount": ("NOBODY",)})
    pipeline.tell("Contact", rows)
    pipeline.run()
    assert pipeline.held() == dict.fromkeys(rows, "unknown target")


def test_a_stale_page_does_not_move_rows_back(pipeline: GuardedPipeline) -> None:
    before = {account: dict(pipeline.crm.tables["Account"][account]) for account in ALL}
    pipeline.move(ALL, "T2")
    pipeline.run()
    now = {account: dict(pipeline.crm.tables["Account"][account]) for account in ALL}
    pipeline.crm.tables["Account"].update(before)
    pipeline.tell("Account", ALL)
    pipeline.run()
    assert set(ALL) <= pipeline.visible("T2")
    assert {pipeline.held()[account] for account in ALL} == {"outdated"}
    pipeline.crm.tables["Account"].update(now)
    pipeline.run("sweep")
    assert pipeline.held() == {}
    assert set(ALL) <= pipeline.visible("T2")


def test_a_delete_known_before_a_row_was_last_seen_alive_proves_nothing(pipeline: GuardedPipeline) -> None:
    gone = pipeline.hide("Account", ALL)
    pipeline.tell("Account", ALL, "DeleteRecord")
    pipeline.run()
    assert pipeline.visible("T1") == set()
    # Restored without a word; later out of sight.
    pipeline.crm.tables["Account"].update(gone)
    pipeline.ask("account", ALL)
    pipeline.run()
    assert pipeline.visible("T1") == set(ALL)
    pipeline.hide("Account", ALL)
    pipeline.run()
    assert pipeline.visible("T1") == set(ALL)


def test_one_deleted_parent_of_several_that_a_list_names_proves_nothing(pipeline: GuardedPipeline) -> None:
    rows = [f"C-{account}-{n}" for account in ALL for n in (1, 2)]
    pipeline.put("Account", "X", TerritoryId="T3")
    for row_id in rows:
        pipeline.put("Contact", row_id, _links={"ListOfAccount": (row_id[2:7], "X")})
    pipeline.tell("Account", ["X"], "WriteRecordNew")
    pipeline.tell("Contact", rows, "WriteRecordNew")
    pipeline.run()
    del pipeline.crm.tables["Account"]["X"]
    pipeline.tell("Account", ["X"], "DeleteRecord")
    pipeline.hide("Contact", rows)
    pipeline.run()
    assert set(rows) <= pipeline.visible("T1", "contact")
    assert {pipeline.held()[row_id] for row_id in rows} == {"vanished"}


def test_a_child_that_was_seen_after_its_parent_had_gone_did_not_go_with_it(pipeline: GuardedPipeline) -> None:
    pipeline.put("Account", "T1-00", AccountName="with many orders")
    many = [f"M{n}" for n in range(40)]
    for row_id in many:
        pipeline.put("Order", row_id, BusinessAccountId="T1-00")
    pipeline.run()
    del pipeline.crm.tables["Account"]["T1-00"]
    pipeline.tell("Account", ["T1-00"], "DeleteRecord")
    pipeline.run()
    assert pipeline.query("SELECT DISTINCT _state FROM snapshot.order WHERE BusinessAccountId = 'T1-00'") == [("live",)]
    pipeline.hide("Order", many)
    pipeline.ask("order", many)
    pipeline.run()
    assert set(pipeline.query("SELECT DISTINCT _state FROM snapshot.order WHERE row_id LIKE 'M%'")) == {("lost",)}


def test_below_the_limits_everything_is_published_as_before(pipeline: GuardedPipeline) -> None:
    pipeline.hide("Account", HALF[:2])
    pipeline.move(["T2-00"], None)
    pipeline.move(["T3-00"], "T9")
    result = pipeline.run()
    assert result is not None
    assert result.deleted == 8
    assert pipeline.held() == {}
    assert pipeline.query("SELECT count(*) FROM doubtful_loss") == [(8,)]


def test_slices_are_held_once_their_sum_in_the_window_passes_the_share(pipeline: GuardedPipeline) -> None:
    for start in range(0, ACCOUNTS, 2):
        pipeline.hide("Account", ALL[start : start + 2])
        pipeline.run()
        pipeline.now += timedelta(hours=1)
    # Three slices of a tenth are 30 %, the fourth would be more.
    assert pipeline.visible("T1") == set(ALL[6:])
    assert {row_id for row_id, why in pipeline.held().items() if why} == set(ALL[6:])


def test_losses_older_than_the_window_do_not_count(pipeline: GuardedPipeline) -> None:
    for start in range(0, ACCOUNTS, 4):
        pipeline.hide("Account", ALL[start : start + 4])
        pipeline.run()
        pipeline.now += timedelta(hours=25)
    # A fifth each day, of what is there: 4 of 20, 4 of 16, then 4 of 12 are a third.
    assert pipeline.visible("T1") == set(ALL[8:])


def test_rows_that_came_back_do_not_count(pipeline: GuardedPipeline) -> None:
    for _ in range(5):
        gone = pipeline.hide("Account", ALL[:4])
        pipeline.run()
        assert set(ALL[:4]).isdisjoint(pipeline.visible("T1"))
        pipeline.crm.tables["Account"].update(gone)
        pipeline.tell("Account", ALL[:4])
        pipeline.run()
        assert pipeline.visible("T1") == set(ALL)


def test_a_loss_spread_thinly_over_small_territories_is_held_by_the_sum_of_all(tmp_path: Path) -> None:
    pipeline = GuardedPipeline(tmp_path, Guard(max_share=0.3, min_rows=60))
    for territory in ("T1", "T2", "T3"):
        pipeline.hide("Account", accounts(territory, range(15)))
    pipeline.run()
    # 30 rows each are too few for any of them; 90 of 120 are not.
    assert len(pipeline.held()) == 90


def test_what_comes_back_resolves_by_itself_and_nothing_was_ever_deleted(pipeline: GuardedPipeline) -> None:
    gone = pipeline.hide("Account", HALF) | {}
    pipeline.run()
    since = pipeline.query("SELECT DISTINCT since FROM held_row")
    pipeline.now += timedelta(hours=30)
    pipeline.run("sweep")
    assert pipeline.query("SELECT DISTINCT since FROM held_row") == since
    pipeline.crm.tables["Account"].update(gone)
    pipeline.run("sweep")
    assert pipeline.held() == {}
    assert pipeline.held_counts() == {}
    assert pipeline.query("SELECT count(*) FROM territory_delta WHERE operation = 'delete'") == [(0,)]
    assert pipeline.query("SELECT count(*) FROM snapshot.account WHERE _state <> 'live'") == [(0,)]


def test_held_rows_that_are_proven_deleted_go_and_may_be_restored(pipeline: GuardedPipeline) -> None:
    gone = pipeline.hide("Account", HALF)
    pipeline.run()
    pipeline.tell("Account", HALF, "DeleteRecord")
    pipeline.run()
    assert pipeline.held() == {}
    assert set(HALF).isdisjoint(pipeline.visible("T1"))
    pipeline.crm.tables["Account"].update(gone)
    pipeline.tell("Account", HALF, "RestoreRecord")
    pipeline.run()
    assert pipeline.visible("T1") == set(ALL)


def test_a_held_row_that_turns_up_elsewhere_moves(pipeline: GuardedPipeline) -> None:
    pipeline.move(HALF, None)
    pipeline.run()
    assert len(pipeline.held()) == 2 * len(HALF)
    pipeline.move(HALF, "T2")
    pipeline.run()
    assert pipeline.held() == {}
    assert set(HALF) <= pipeline.visible("T2")


def test_a_held_child_goes_where_its_parent_goes(pipeline: GuardedPipeline) -> None:
    """Sight of orders is lost, while their accounts are re-aligned."""
    pipeline.hide("Order", orders(ALL))
    pipeline.ask("order", orders(ALL))
    pipeline.run()
    assert len(pipeline.held()) == ACCOUNTS
    pipeline.move(HALF, "T2")
    pipeline.run()
    assert set(orders(HALF)) <= pipeline.visible("T2", "order")
    assert pipeline.held_counts() == {("T1", "order"): 10, ("T2", "order"): 10}


def test_large_proven_moves_are_held_where_that_is_wished_unless_announced(tmp_path: Path) -> None:
    pipeline = GuardedPipeline(tmp_path, Guard(max_share=0.3, min_rows=5, moved_share=0.2))
    pipeline.move(HALF, "T2")
    pipeline.run()
    assert {pipeline.held()[account] for account in HALF} == {"moved"}
    with pipeline.open() as connection:
        announced = accounts("T3", range(10))
        announce(connection, [Move(account, "T3", "T2") for account in announced], "new year", pipeline.now)
    pipeline.move(announced, "T2")
    pipeline.run()
    assert set(announced) <= pipeline.visible("T2")


def test_random_histories_with_held_rows_equal_a_recompute(tmp_path: Path) -> None:
    """``GuardedPipeline.publish`` compares after each publication."""
    for seed in range(3):
        rng = random.Random(seed)
        pipeline = GuardedPipeline(tmp_path / str(seed))
        hidden: dict[str, dict[str, object]] = {}
        everything = sorted(pipeline.crm.tables["Account"])
        held_at_some_time = 0
        for _ in range(12):
            for _ in range(rng.randint(1, 3)):
                there = [a for a in everything if a in pipeline.crm.tables["Account"]]
                some = rng.sample(there, min(len(there), rng.choice([1, 3, 12])))
                match rng.randint(0, 5):
                    case 0 | 1:
                        hidden |= pipeline.hide("Account", some)
                    case 2:
                        pipeline.move(some, rng.choice(["T1", "T2", "T3"]))
                    case 3:
                        pipeline.move(some, rng.choice([None, "T9"]))
                    case 4:
                        back = rng.sample(sorted(hidden), len(hidden) // 2)
                        pipeline.crm.tables["Account"].update({row_id: hidden.pop(row_id) for row_id in back})
                        pipeline.tell("Account", back)
                    case 5:
                        gone = rng.sample(sorted(hidden), len(hidden) // 3)
                        pipeline.tell("Account", gone, "DeleteRecord")
            pipeline.run(rng.choice(["none", "none", "sweep"]))
            held_at_some_time += bool(pipeline.held())
            counts = pipeline.query("SELECT territory, object, count(*) FROM held_row GROUP BY ALL")
            assert pipeline.held_counts() == {(t, o): n for t, o, n in counts}
        assert held_at_some_time
