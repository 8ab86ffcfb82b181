"""Books as territories: a change of the catalog file only."""

from __future__ import annotations

from pathlib import Path

from orchestration.catalog import DEFAULT_PATH, load_catalog
from orchestration.pipeline.derive import derive
from orchestration.pipeline.replicate import served_territories
from orchestration.pipeline.verify import differences
from orchestration.pipeline.warehouse import open_warehouse
from tests.pipeline.snapshot_rows import NO_GUARD, NOW, published_view, put

EXAMPLE = DEFAULT_PATH.parents[1] / "docs/books.yaml"
BOOKS = load_catalog(EXAMPLE)


def test_the_example_differs_from_the_shipped_catalog_only_in_books() -> None:
    shipped, example = ({obj.name: obj for obj in load_catalog(path)} for path in (DEFAULT_PATH, EXAMPLE))
    assert list(shipped) == list(example)
    differing = {name for name in shipped if shipped[name] != example[name]}
    assert differing == {"territory", "account"}
    path = example["account"].visibility[0]
    assert path.book_membership is not None
    assert shipped["account"].model_copy(update={"visibility": (path,)}) == example["account"]


def test_rows_and_their_children_are_visible_in_every_book_of_the_row(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "warehouse.duckdb", BOOKS, 1) as connection:

        def books(account: str, *ids: str) -> None:
            connection.execute("UPDATE snapshot.account_link SET live = false WHERE row_id = ?", [account])
            for book in ids:
                connection.execute(
                    "DELETE FROM snapshot.account_link WHERE (row_id, parent_id) = (?, ?)", [account, book]
                )
                connection.execute(
                    "INSERT INTO snapshot.account_link VALUES (?, 'ListOfBook', ?, true)", [account, book]
                )
            connection.execute("INSERT INTO touched VALUES ('account', ?)", [account])

        def seen() -> set[tuple[str, str]]:
            derive(connection, BOOKS, as_of=NOW, now=NOW, guard=NO_GUARD)
            assert not any(differences(connection).values())
            return {(book, row_id) for book, _, row_id in published_view(connection)}

        put(connection, "territory", "B1", BookName="Cardiology North")
        put(connection, "account", "A")
        put(connection, "contact", "C", AccountId="A")
        books("A", "B1", "B2")
        assert seen() == {("B1", "A"), ("B1", "C"), ("B2", "A"), ("B2", "C")}
        books("A", "B2", "B3")
        assert seen() == {("B2", "A"), ("B2", "C"), ("B3", "A"), ("B3", "C")}
        books("A")
        assert seen() == set()
        assert served_territories(connection) == [("B1", "Cardiology North")]
