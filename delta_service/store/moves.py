"""Rows that enter and leave territories, and intervals that a new content touches: found by number, written in order.

An interval's number is its territory's, its object's and its row's key in one integer, so a sorted list of numbers goes
through ``visibility`` as the table is clustered. Lists are handed to the engine whole; Python sees no row by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from delta_service.store.changes import VisibilityChange
from delta_service.store.engine import WriteConnection
from delta_service.store.errors import ChangeSetError
from delta_service.store.territory_keys import TerritoryKeys

Numbers = npt.NDArray[np.int64]

# The bits of a number, 63 in all.
ROW_BITS, OBJECT_BITS, TERRITORY_BITS = 36, 6, 21
TOO_MANY = (
    f"a store holds at most {2**TERRITORY_BITS:,} territories, {2**OBJECT_BITS} objects and {2**ROW_BITS:,} rows;"
    " a full copy numbers anew what is left of them"
)
NUMBERED = f"""SELECT value >> {OBJECT_BITS + ROW_BITS} AS territory,
        (value >> {ROW_BITS}) & {2**OBJECT_BITS - 1} AS object, value & {2**ROW_BITS - 1} AS row_key
    FROM carray(:numbers) AS value"""
SAME_ROW = """seen.territory = numbered.territory AND seen.object = numbered.object
    AND seen.row_key = numbered.row_key AND seen.to_seq = :open"""

# As many as that lie on pages which the writer keeps in memory: what one statement changed, the next finds there.
NUMBERS_AT_A_TIME = 100_000

COLUMNS = pa.schema(
    [("territory", pa.string()), ("object", pa.string()), ("row_id", pa.string()), ("entered", pa.bool_())]
)

FIND_ROWS = """SELECT coalesce((SELECT key FROM row WHERE row.object = :object AND row.row_id = value), 0)
    FROM carray(:row_ids) AS value"""
# Ended ones too, which their index does not tell apart.
FIND_TOUCHED = f"""SELECT (((CAST(territory AS BIGINT) << {OBJECT_BITS}) | object) << {ROW_BITS}) | row_key
    FROM visibility WHERE row_key IN (SELECT row_key FROM changed_row)"""
LEAVE = f"""UPDATE OR ROLLBACK visibility AS seen SET to_seq = :seq, touched_seq = :seq FROM ({NUMBERED}) AS numbered
    WHERE {SAME_ROW}"""
TOUCH = f"""UPDATE OR ROLLBACK visibility AS seen SET touched_seq = :seq FROM ({NUMBERED}) AS numbered
    WHERE {SAME_ROW}"""
# Before entering, not while: an engine would look among the rows that it has just inserted.
COUNT_HELD = f"""SELECT count(*) FROM ({NUMBERED}) AS numbered
    WHERE EXISTS (SELECT 1 FROM visibility AS seen WHERE {SAME_ROW})"""
ENTER = f"""INSERT OR ROLLBACK INTO visibility (territory, object, row_key, from_seq, to_seq, touched_seq)
    SELECT territory, object, row_key, :seq, :open, :seq FROM ({NUMBERED}) AS numbered"""


def visibility_table(changes: Iterable[VisibilityChange]) -> pa.Table:
    """A few changes as the table that a :class:`ChangeSet` holds; of many, a database makes it faster."""
    return pa.Table.from_pylist([change._asdict() for change in changes], schema=COLUMNS)


def apply_moves(
    connection: WriteConnection,
    visibility: pa.Table,
    objects: Mapping[str, int],
    territories: TerritoryKeys,
    bounds: Mapping[str, int],
) -> None:
    """End, touch and begin intervals; ``changed_row`` holds the rows with a new content. Raises ChangeSetError."""
    moved, entered = _numbered(connection, visibility, objects, territories)
    leaving, entering = np.sort(moved[~entered]), np.sort(moved[entered])
    touched = np.unique(_integers(connection.execute(FIND_TOUCHED)))
    cuts = np.sort(moved)[NUMBERS_AT_A_TIME::NUMBERS_AT_A_TIME]
    pieces = (np.split(numbers, np.searchsorted(numbers, cuts)) for numbers in (leaving, touched, entering))
    for leave, touch, enter in zip(*pieces, strict=True):
        if len(leave):
            connection.execute(LEAVE, {**bounds, "numbers": connection.array(leave)})
            if connection.changes() != len(leave):
                raise ChangeSetError("a row leaves a territory that did not see it")
        # After leaving and before entering, which touch by themselves: each interval is written once.
        if len(touch):
            connection.execute(TOUCH, {**bounds, "numbers": connection.array(touch)})
        if len(enter):
            numbers = {**bounds, "numbers": connection.array(enter)}
            if connection.execute(COUNT_HELD, numbers).get:
                raise ChangeSetError("a row enters a territory that sees it already")
            connection.execute(ENTER, numbers)


def _numbered(
    connection: WriteConnection, visibility: pa.Table, objects: Mapping[str, int], territories: TerritoryKeys
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """The intervals' numbers, in no order, and which of them begin."""
    numbers, entered = [np.empty(0, np.int64)], [np.empty(0, np.bool_)]
    for name in pc.unique(visibility["object"]).to_pylist():
        its = visibility.filter(pc.equal(visibility["object"], name))
        row_ids = its["row_id"].combine_chunks().dictionary_encode()
        rows = _row_keys(connection, objects[name], row_ids.dictionary.to_pylist())
        ids = its["territory"].combine_chunks().dictionary_encode()
        keys = np.array([territories[id_] for id_ in ids.dictionary.to_pylist()], np.int64)
        if max(objects[name] >> OBJECT_BITS, keys.max() >> TERRITORY_BITS, rows.max() >> ROW_BITS):
            raise ChangeSetError(TOO_MANY)
        numbers.append((keys[ids.indices] << OBJECT_BITS | objects[name]) << ROW_BITS | rows[row_ids.indices])
        entered.append(its["entered"].to_numpy())
    return np.concatenate(numbers), np.concatenate(entered)


def _row_keys(connection: WriteConnection, object_key: int, row_ids: list[str]) -> Numbers:
    found = connection.execute(FIND_ROWS, {"object": object_key, "row_ids": connection.array(row_ids)})
    keys = _integers(found)
    if not keys.all():
        raise ChangeSetError("a row enters or leaves a territory that the store has never had")
    return keys


def _integers(rows: Iterable[tuple[int]]) -> Numbers:
    return np.fromiter((number for (number,) in rows), np.int64)
