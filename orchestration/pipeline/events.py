"""Events of the CRM's log, the damaged ones too: none is dropped.

An event that cannot be understood is read again as text, and if that fails with nothing but the names of its row. What
is left of it says which row to read. One that names no row stops the run, since nobody would know what it was about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestration.crm.client import CrmClient
from orchestration.crm.errors import CrmAnswerError
from orchestration.crm.queries import EVENT_AS_TEXT, EVENT_NAMES, Query
from orchestration.crm.rows import Defect, Row
from orchestration.crm.values import date_time
from orchestration.pipeline.requests import Event
from orchestration.pipeline.warehouse import to_stored

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DamagedEvent(Event):
    """Understood in part only: what it lacks is empty, and its time, if it had none, that of the reading."""


def read_events(crm: CrmClient, query: Query, now: datetime, smaller_pages: bool) -> Iterator[Event]:
    """The events of a query about the log. ``now`` stands for times that cannot be read; UTC without zone.

    Raises :class:`CrmAnswerError` for an event that names no row.
    """
    for page in crm.read(query, smaller_pages=smaller_pages):
        for row in page.rows:
            event = _event(row, now)
            if isinstance(event, DamagedEvent):
                logger.warning("event %s is damaged", row.id)
            yield event
        if page.quarantined:
            yield from _repaired(crm, page.quarantined, now)


def _repaired(crm: CrmClient, defects: Iterable[Defect], now: datetime) -> Iterator[Event]:
    wanted = []
    for defect in defects:
        logger.warning("%s; it is read again as text", defect)
        if defect.row_id is None:
            raise CrmAnswerError(f"an event of the log cannot be understood, and cannot be asked for again: {defect}")
        wanted.append(defect.row_id)
    for shape in (EVENT_AS_TEXT, EVENT_NAMES):
        for row in crm.read_ids(shape, wanted).rows if wanted else ():
            yield _event(row, now)
            wanted.remove(row.id)
    if wanted:
        raise _unnamed(wanted[0])


def _event(row: Row, now: datetime) -> Event:
    text = {name: (None if value is None else str(value).strip()) for name, value in row.values.items()}
    object_name, object_id, name = (text.get(field) or "" for field in ("ObjectName", "ObjectId", "EventName"))
    child_id = text.get("ChildId")
    if not object_id and not child_id:
        raise _unnamed(row.id)
    modified = _moment(row.values.get("ModifiedDate"))
    kind = Event if object_name and object_id and name and modified else DamagedEvent
    return kind(
        event_id=row.id,
        object_name=object_name,
        object_id=object_id,
        child_name=text.get("ChildName"),
        child_id=child_id,
        event_name=name,
        modification_number=_whole(text.get("ModificationNumber")),
        modified_date=now if modified is None else to_stored(modified),
    )


def _unnamed(event_id: str) -> CrmAnswerError:
    return CrmAnswerError(
        f"event {event_id} of the CRM's log names no row that could be read instead, and it is not passed over: look at"
        " it in the CRM (Modification Tracking), delete it there if it is broken, and run census"
    )


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        return date_time(str(value).strip()).astimezone(UTC) if value else None
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    """The number, also as ``1.0000000``; None for what is none, since nothing depends on it."""
    whole, _, rest = (text or "").partition(".")
    return int(whole) if whole.isdecimal() and not rest.strip("0") and len(whole) <= 18 else None
