"""P9 ``paging``: a delta of 100,000 rows in pages while publications go on, against one piece at the same cursor."""

from __future__ import annotations

from benchmarks.changes import change_some
from benchmarks.cost import Cost, compared, cost
from benchmarks.data import CATALOG, NO_GUARD, NOW, SMALL, Stores, published
from benchmarks.results import Measurement
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.views import DeltaRow, Position, View
from orchestration.pipeline.derive import derive
from orchestration.pipeline.replicate import replicate

ROUNDS = 3
PAGE_ROWS = 5_000
CHANGED = ("opportunity", "activity", "order")


def paging() -> list[Measurement]:
    """All territories at once; a publication of 200 changed rows, some of them in the delta, between each two pages."""
    pages: list[Cost] = []
    whole: list[Cost] = []
    rows = 0
    with published(SMALL) as stores:
        for obj in CHANGED:
            _touch_all(stores, obj)
        _publish(stores)
        reader = DeltaStoreReader(stores.folder / "delta.sqlite")
        number = 0
        for _ in range(ROUNDS):
            now = reader.state(None).published_seq
            in_one: list[DeltaRow] = []
            whole.append(cost(lambda now=now, into=in_one: _page(reader, now, 10**9, None, into)))  # type: ignore[misc]
            in_pages: list[DeltaRow] = []
            spent: list[Cost] = []
            position: Position | None = None
            while not spent or position is not None:
                positions: list[Position | None] = []
                spent.append(
                    cost(
                        lambda now=now, after=position, into=in_pages, out=positions: out.append(  # type: ignore[misc]
                            _page(reader, now, PAGE_ROWS, after, into)
                        )
                    )
                )
                (position,) = positions
                number += 1
                change_some(stores.warehouse, number, "order")
                _publish(stores)
            keys = [(row.object, row.row_key) for row in in_pages]
            assert len(set(keys)) == len(keys), "a row was repeated"
            assert in_pages == in_one, "the pages are not the whole"
            rows = len(in_pages)
            pages.append(Cost(sum(c.seconds for c in spent), sum(c.cpu_seconds for c in spent)))
        reader.close()
    assert rows >= 100_000
    what = f"{rows} rows in pages of {PAGE_ROWS}, {number} publications meanwhile, 0 lost, 0 repeated"
    return compared(what, pages, "in one piece", whole)


def _page(
    reader: DeltaStoreReader, now: int, limit: int, after: Position | None, into: list[DeltaRow]
) -> Position | None:
    state = reader.state(None)
    keys = [territory.key for territory in state.territories.values()]
    rows, position = reader.page(
        View(keys, 1), View(keys, now), (), generation=state.generation, limit=limit, after=after
    )
    into += rows
    return position


def _touch_all(stores: Stores, obj: str) -> None:
    """Another text for each row of an object."""
    field = next(iter(CATALOG[obj].fields))
    stores.warehouse.execute(f'UPDATE snapshot."{obj}" SET "{field}" = "{field}" || \'!\'')
    stores.warehouse.execute(f"INSERT INTO touched SELECT '{obj}', row_id FROM snapshot.\"{obj}\"")


def _publish(stores: Stores) -> None:
    derive(stores.warehouse, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD)
    replicate(stores.warehouse, CATALOG, stores.writer)
