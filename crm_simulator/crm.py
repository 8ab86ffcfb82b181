"""The CRM's state: tables, clock, event log, deleted items and meters."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from crm_simulator.agenda import Agenda
from crm_simulator.kinds import Field, ObjectType
from crm_simulator.limits import Limits, Meter
from crm_simulator.records import IdSequence, Record, Table
from crm_simulator.schema import OBJECTS
from crm_simulator.sight import Sight
from crm_simulator.values import V1_FORMAT, parse_stamp, stamp

if TYPE_CHECKING:
    from crm_simulator.damage import Spoiled

RETENTION_DAYS = 30  # of the event log and of deleted items
DEFAULT_TRACKED = frozenset(name for name, kind in OBJECTS.items() if kind.tracked)

Getter = Callable[[Record], str | None]


class Clock:
    """The server's clock: real time plus what it was advanced by."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset_seconds = 0.0
        self._held: datetime | None = None

    def now(self) -> datetime:
        """Aware, UTC."""
        return self._held or datetime.fromtimestamp(self._source() + self._offset_seconds, UTC)

    def advance(self, seconds: float) -> None:
        self._offset_seconds += seconds

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stand still: whatever happens meanwhile gets one and the same stamp."""
        self._held = self.now()
        try:
            yield
        finally:
            self._held = None


@dataclass
class Touched:
    """What one action changed: ids by object, whether or not anything tells of it, and the number of events."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    events: int = 0

    def add(self, object_name: str, id_: str) -> None:
        self.ids.setdefault(object_name, []).append(id_)

    def __iadd__(self, other: Touched) -> Touched:
        for object_name, ids in other.ids.items():
            self.ids.setdefault(object_name, []).extend(ids)
        self.events += other.events
        return self


@dataclass(frozen=True)
class Action:
    """An entry of the list of recent actions."""

    at: str
    text: str
    rows: int
    events: int


@dataclass(frozen=True)
class DeletedItem:
    """An entry of the Deleted Items list; ``deleted_at`` is a stamp."""

    id: str
    object_name: str
    object_id: str
    type: str
    name: str
    deleted_at: str
    deleted_by: str
    external_system_id: str | None
    shown_date: str | None = None
    """What the list shows as the date, if not the date."""


@dataclass
class TimedBook:
    """A membership in a book that begins and ends at given stamps, once the server's procedure runs."""

    object_name: str
    record_id: str
    book_id: str
    start: str | None
    end: str | None
    primary: bool
    begun: bool = False


@dataclass(eq=False)
class Assignment:
    """A record that waits for the assignment engine, and the fields that will set."""

    object_name: str
    record_id: str
    outcome: dict[str, str | None]
    events: bool


class Crm:
    """Everything the simulated CRM knows. Hold ``lock`` around each use; ``version`` moves with every change.

    ``event_offset_seconds`` is how far the clock that stamps events is ahead of the server's, ``user_zone`` the offset
    of the integration user's time zone from UTC, in which the older services speak.
    """

    def __init__(self, tracked: Collection[str] = DEFAULT_TRACKED, clock: Clock | None = None) -> None:
        self.lock = threading.Lock()
        self.clock = clock or Clock()
        self.tracked = frozenset(tracked)
        self.tables = {name: Table(kind) for name, kind in OBJECTS.items()}
        self.ids = IdSequence()
        self.integration_user = ""
        self.deleted_items: dict[str, DeletedItem] = {}
        self.operations: Counter[str] = Counter()
        self.actions: deque[Action] = deque(maxlen=200)
        self.refused_sign_ins = 0
        self.agenda = Agenda()
        self.assignments: list[Assignment] = []
        self.timed_books: list[TimedBook] = []
        self.sight = Sight(self.tables)
        self.spoiled: dict[str, Spoiled] = {}
        self.meter = Meter(Limits())
        self.event_offset_seconds = 0.0
        self.user_zone = timedelta(0)
        self._event_age_seconds = 0.0
        self._event_delay_seconds = 0.0
        self.version = 0
        self._getters: dict[tuple[str, str], Getter] = {}

    def now(self) -> str:
        return stamp(self.clock.now())

    def settle(self) -> None:
        """Catch up with the clock: do what became due."""
        self.agenda.run(self.clock.now())

    def spend(self, request: str, operations: int = 1) -> None:
        """Count operations as the CRM does."""
        self.operations[request] += operations
        self.meter.spend(self.clock.now(), operations)

    @contextmanager
    def events_late(self, age_seconds: float, delay_seconds: float) -> Iterator[None]:
        """Meanwhile events are late: stamped ``age_seconds`` ago, visible only after ``delay_seconds``."""
        self._event_age_seconds, self._event_delay_seconds = age_seconds, delay_seconds
        try:
            yield
        finally:
            self._event_age_seconds = self._event_delay_seconds = 0.0

    def new_record(self, object_name: str, values: dict[str, str | None]) -> Record:
        """Build a record with its audit fields and add it; ``values`` are in wire form."""
        table = self.tables[object_name]
        now = self.now()
        audit = {
            "Id": next(self.ids),
            "ModId": "0",
            "CreatedDate": now,
            "CreatedById": self.integration_user,
            "ModifiedDate": now,
            "ModifiedById": self.integration_user,
        }
        merged = audit | values
        record = Record(str(merged["Id"]), [merged.get(field.name) for field in table.kind.stored])
        table.add(record)
        self.version += 1
        return record

    def touch(self, object_name: str, record: Record, changes: dict[str, str | None]) -> None:
        """Change a record as a save does: with a new modification number and date."""
        table = self.tables[object_name]
        number = int(table.get(record, "ModId") or 0) + 1
        audit = {"ModId": str(number), "ModifiedDate": self.now(), "ModifiedById": self.integration_user}
        table.write(record, audit | changes)
        self.version += 1

    def alter(self, object_name: str, record: Record, changes: dict[str, str | None]) -> None:
        """Change a record without a trace, as merges do to what hangs on the merged rows."""
        self.tables[object_name].write(record, changes)
        self.version += 1

    def log(
        self,
        touched: Touched,
        event: str,
        object_name: str,
        record: Record,
        child: tuple[str, str] | None = None,
        at: str | None = None,
    ) -> None:
        """Write an event, if the object is tracked.

        ``child`` is the other row's object and id; ``at`` a stamp other than now.
        """
        if object_name not in self.tracked:
            return
        child_name, child_id = child or (None, None)
        values = {
            "ObjectName": object_name,
            "ObjectId": record.id,
            "ChildName": child_name,
            "ChildId": child_id,
            "EventName": event,
            "ModificationNumber": self.tables[object_name].get(record, "ModId"),
        }
        self.write_event(touched, values, at)

    def write_event(self, touched: Touched, values: dict[str, str | None], at: str | None = None) -> None:
        """Write a row of the log, whether or not the object is tracked."""
        now = self.clock.now()
        at = at or stamp(now + timedelta(seconds=self.event_offset_seconds - self._event_age_seconds))
        write = partial(self.new_record, "ModificationTracking", values | {"CreatedDate": at, "ModifiedDate": at})
        if self._event_delay_seconds:
            self.agenda.add(now + timedelta(seconds=self._event_delay_seconds), write)
        else:
            write()
        touched.events += 1

    def remember(self, text: str, touched: Touched) -> None:
        """Add to the list of recent actions."""
        rows = sum(len(ids) for ids in touched.ids.values())
        self.actions.appendleft(Action(self.now(), text, rows, touched.events))

    def purge(self, older_than_days: float = RETENTION_DAYS) -> None:
        """Drop events and deleted items that are past their retention time, as the regular purge does."""
        bound = stamp(self.clock.now() - timedelta(days=older_than_days))
        log = self.tables["ModificationTracking"]
        for _, id_ in list(log.by_modified.irange(maximum=(bound, ""))):
            log.purge(log.records[id_])
        for item in [item for item in self.deleted_items.values() if item.deleted_at < bound]:
            del self.deleted_items[item.object_id]
        self.version += 1

    def getter(self, kind: ObjectType, name: str) -> Getter:
        """A function that reads a field of a record, through references where need be."""
        key = (kind.name, name)
        if key not in self._getters:
            self._getters[key] = self._make_getter(kind, kind.by_name[name])
        return self._getters[key]

    def label(self, object_name: str, record: Record) -> str:
        """The record's display name."""
        table = self.tables[object_name]
        return " ".join(filter(None, (table.get(record, name) for name in table.kind.label)))

    def _make_getter(self, kind: ObjectType, wanted: Field) -> Getter:
        if wanted.stamp is not None:
            who, when = (kind.position[name] for name in wanted.stamp)
            return lambda record: self._signature(record.values[who], record.values[when])
        if wanted.join is None:
            position = kind.position[wanted.name]
            return lambda record: record.values[position]
        key = kind.position[wanted.join.key]
        target = self.tables[wanted.join.object]
        parts = [self.getter(target.kind, name) for name in wanted.join.fields]

        def joined(record: Record) -> str | None:
            id_ = record.values[key]
            referred = target.live(id_) if id_ is not None else None
            if referred is None:
                return None
            return " ".join(filter(None, (part(referred) for part in parts))) or None

        return joined

    def _signature(self, user_id: str | None, moment: str | None) -> str | None:
        user = self.tables["User"].live(user_id) if user_id else None
        if user is None or moment is None:
            return None
        return f"{self.label('User', user)}, {parse_stamp(moment).strftime(V1_FORMAT)}"
