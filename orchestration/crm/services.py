"""The two older services that are not queries of rows: the server's clock, and the list of deleted items."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lxml import etree

from orchestration.crm.envelope import body_of, local_name
from orchestration.crm.errors import CrmAnswerError
from orchestration.crm.requests import Request
from orchestration.crm.transport import Reply
from orchestration.crm.wsdl import WsdlDirectory

logger = logging.getLogger(__name__)

DELETED_ITEMS_PAGE_ROWS = 100
_V1_FORMAT = "%m/%d/%Y %H:%M:%S"
_ZONE = re.compile(r"\((?:GMT|UTC)\s*(?:([+-])([0-9]{1,2}):?([0-9]{2})?)?\)")
_QUARTER = timedelta(minutes=15)
_SAVING = tuple(timedelta(minutes=minutes) for minutes in (30, 60, 120))
_DOUBT = timedelta(minutes=5)


@dataclass(frozen=True)
class Clock:
    """The CRM's time now, UTC, and the offset of the integration user's zone, in which older services speak.

    The zone's label says nothing of daylight saving, so ``now`` may lie ahead by the saving; ``surely_past`` does not.
    ``date`` is what the Date header of the same answer says, where there is one.
    """

    now: datetime
    offset: timedelta
    surely_past: datetime
    date: datetime | None = None


@dataclass(frozen=True)
class DeletedItem:
    """An entry of the Deleted Items list. ``type`` is the list's own name; ``deleted_at`` UTC, None if unreadable.

    ``type`` and ``object_id`` are empty where the entry lacks them.
    """

    type: str
    object_id: str
    deleted_at: datetime | None


@dataclass(frozen=True)
class DeletedItemsPage:
    items: dict[str, DeletedItem]  # by the entry's own id
    received: int
    last: bool


def clock_request(wsdls: WsdlDirectory) -> Request:
    operation = wsdls.operation("TimeWS_GetServerTime_Input")
    return Request(operation, operation.envelope(), operations=0)


def read_clock(root: etree._Element, reply: Reply) -> Clock:
    """The CRM's clock. A lead of just 30, 60 or 120 minutes over the Date header may be daylight saving, or not."""
    try:
        local = datetime.strptime(_text(root, "CurrentServerTime"), _V1_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise CrmAnswerError("the time is missing or not in the expected form") from error
    match = _ZONE.search(_text(root, "TimeZone"))
    if match:
        offset = timedelta(hours=int(match[2] or 0), minutes=int(match[3] or 0)) * (-1 if match[1] == "-" else 1)
        lead = local - offset - reply.date if reply.date else timedelta(0)
        saving = next((step for step in _SAVING if abs(lead - step) <= _DOUBT), timedelta(0))
        if saving:
            logger.warning(
                "the CRM's clock leads its Date header by %s: set the user's time zone to UTC, without daylight saving",
                saving,
            )
    elif reply.date:
        offset = round((local - reply.date) / _QUARTER) * _QUARTER
        saving = timedelta(0)
    else:
        raise CrmAnswerError("the time zone is not known")
    return Clock(local - offset, offset, local - offset - saving, reply.date)


def deleted_items_request(
    wsdls: WsdlDirectory, since: datetime, offset: timedelta, start_row: int, page_size: int = DELETED_ITEMS_PAGE_ROWS
) -> Request:
    """Entries deleted at or after ``since``, which the service sorts by that date."""
    operation = wsdls.operation("DeletedItemWS_DeletedItemQueryPage_Input")
    bound = (since.astimezone(UTC) + offset - timedelta(seconds=1)).strftime(_V1_FORMAT)
    asked = {"DeletedItemId": "", "DeletedDate": f"> '{bound}'", "ObjectId": "", "Type": ""}
    envelope = operation.envelope(
        PageSize=str(page_size),
        StartRowNum=str(start_row),
        ListOfDeletedItem={"DeletedItem": [asked]},
    )
    return Request(operation, envelope, operations=1)


def read_deleted_items(root: etree._Element, offset: timedelta) -> DeletedItemsPage:
    last = {"true": True, "false": False}.get(_text(root, "LastPage").lower())
    rows = next(iter(root.iter("{*}ListOfDeletedItem")), None)
    if last is None or rows is None:
        raise CrmAnswerError("the answer holds no list, or does not say whether it is the last page")
    if len(rows) > DELETED_ITEMS_PAGE_ROWS or (not last and not len(rows)):
        raise CrmAnswerError("the page has a wrong number of rows")
    return DeletedItemsPage(dict(_items(rows, offset)), len(rows), last)


def _items(rows: etree._Element, offset: timedelta) -> Iterator[tuple[str, DeletedItem]]:
    for row in rows:
        fields = {local_name(child.tag): (child.text or "").strip() for child in row}
        kind, object_id = fields.get("Type", ""), fields.get("ObjectId", "")
        try:
            deleted_at = datetime.strptime(fields.get("DeletedDate", ""), _V1_FORMAT).replace(tzinfo=UTC) - offset
        except ValueError:
            deleted_at = None
        yield fields.get("DeletedItemId") or f"{kind} {object_id}", DeletedItem(kind, object_id, deleted_at)


def _text(root: etree._Element, name: str) -> str:
    body = body_of(root)
    element = next(iter(body.iter(f"{{*}}{name}")), None) if body is not None else None
    return (element.text or "").strip() if element is not None else ""
