"""Records and tables: rows by id, live rows in order of id and of change, and rows by what they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sortedcontainers import SortedList  # type: ignore[import-untyped]

from crm_simulator.kinds import ObjectType

_POD_PREFIX = "1QA2"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_TRIPLES = [pair + c for pair in _PAIRS for c in _DIGITS]
_ID_SPACE = 36**5
_ID_STEP = 38_297_417  # shares no factor with 36, so every id comes once; far from small, so they jump about


class IdSequence:
    """Ids such as ``1QA2-OD54E``: unique over all objects, always the same sequence, and in no order."""

    def __init__(self) -> None:
        self._issued = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._issued += 1
        if self._issued >= _ID_SPACE:
            raise OverflowError("the pod has no more row ids")
        number = self._issued * _ID_STEP % _ID_SPACE
        return f"{_POD_PREFIX}-{_TRIPLES[number // 1296]}{_PAIRS[number % 1296]}"


class Record:
    """One row. ``values`` holds its stored fields in the schema's order.

    ``deleted_with`` is None for a live row, its own id when it was deleted itself, or the id of the account whose
    deletion took it along.
    """

    __slots__ = ("deleted_with", "id", "values")

    def __init__(self, id_: str, values: list[str | None]) -> None:
        self.id = id_
        self.values = values
        self.deleted_with: str | None = None


class Table:
    """All rows of one object, deleted ones too. Fields of a record are changed through :meth:`write` only."""

    def __init__(self, kind: ObjectType) -> None:
        self.kind = kind
        self.records: dict[str, Record] = {}
        self.live_ids = SortedList()
        self.by_modified = SortedList()
        self._modified = kind.position["ModifiedDate"]
        self._indexes: dict[str, dict[str, set[str]]] = {name: {} for name in kind.indexes}

    def load(self, records: Iterable[Record]) -> None:
        """Add many live records at once."""
        added = list(records)
        for record in added:
            self._register(record)
        self.live_ids.update(record.id for record in added)
        self.by_modified.update((record.values[self._modified], record.id) for record in added)

    def add(self, record: Record) -> None:
        self._register(record)
        self._show(record)

    def live(self, id_: str) -> Record | None:
        record = self.records.get(id_)
        return None if record is None or record.deleted_with is not None else record

    def get(self, record: Record, name: str) -> str | None:
        return record.values[self.kind.position[name]]

    def write(self, record: Record, changes: Mapping[str, str | None]) -> None:
        for name, value in changes.items():
            position = self.kind.position[name]
            old = record.values[position]
            if old == value:
                continue
            record.values[position] = value
            if name in self._indexes:
                index = self._indexes[name]
                if old is not None:
                    index[old].discard(record.id)
                if value is not None:
                    index.setdefault(value, set()).add(record.id)
            if position == self._modified and record.deleted_with is None:
                self.by_modified.remove((old, record.id))
                self.by_modified.add((value, record.id))

    def hide(self, record: Record, deleted_with: str) -> None:
        """Take a live record out of sight."""
        self.live_ids.remove(record.id)
        self.by_modified.remove((record.values[self._modified], record.id))
        record.deleted_with = deleted_with

    def reveal(self, record: Record) -> None:
        record.deleted_with = None
        self._show(record)

    def purge(self, record: Record) -> None:
        """Forget a record for good, live or deleted."""
        if record.deleted_with is None:
            self.hide(record, record.id)
        for name, index in self._indexes.items():
            value = self.get(record, name)
            if value is not None:
                index[value].discard(record.id)
        del self.records[record.id]

    def indexed(self, name: str, value: str) -> set[str] | None:
        """Ids, of deleted rows too, whose field has this value; None where the field has no index."""
        if name not in self._indexes:
            return None
        return self._indexes[name].get(value, set())

    def referring(self, name: str, value: str) -> list[Record]:
        """Records, deleted ones too, whose field has this value, in order of id."""
        ids = self.indexed(name, value)
        if ids is not None:
            return [self.records[id_] for id_ in sorted(ids)]
        position = self.kind.position[name]
        found = [record for record in self.records.values() if record.values[position] == value]
        return sorted(found, key=lambda record: record.id)

    def _register(self, record: Record) -> None:
        self.records[record.id] = record
        for name, index in self._indexes.items():
            value = self.get(record, name)
            if value is not None:
                index.setdefault(value, set()).add(record.id)

    def _show(self, record: Record) -> None:
        self.live_ids.add(record.id)
        self.by_modified.add((record.values[self._modified], record.id))
