"""The v1.0 style services: the list of deleted items and the server's clock."""

from __future__ import annotations

from datetime import timedelta

from lxml import etree

from crm_simulator import faults
from crm_simulator.crm import Crm, DeletedItem
from crm_simulator.kinds import MAX_PAGE_ROWS, QUERY_PAGE_ROWS
from crm_simulator.older_wsdls import (
    DELETED_ITEM_DATA_NAMESPACE,
    DELETED_ITEM_FIELDS,
    DELETED_ITEM_NAMESPACE,
    TIME_NAMESPACE,
    TRACKING_DATA_NAMESPACE,
    TRACKING_NAMESPACE,
    TRACKING_SERVICE,
)
from crm_simulator.schema import RECORD_TYPES
from crm_simulator.searchspec import Comparison, Joined, Node, SearchSpecError, parse_template
from crm_simulator.soap import answer, child, children, escaped, local, text_of
from crm_simulator.values import V1_FORMAT, parse_stamp, stamp


def server_time(crm: Crm) -> str:
    """The answer of GetServerTime, in the user's zone."""
    crm.spend("GetServerTime")
    content = (
        f"<ns:CurrentServerTime>{(crm.clock.now() + crm.user_zone).strftime(V1_FORMAT)}</ns:CurrentServerTime>"
        f"<ns:TimeZone>{_zone_label(crm.user_zone)}</ns:TimeZone>"
    )
    return answer("TimeWS_GetServerTime_Output", TIME_NAMESPACE, content)


def tracked_objects(crm: Crm) -> str:
    """The answer of EnableModificationTrackingReadAll: every record type, and whether it writes events."""
    crm.spend(f"{TRACKING_SERVICE}ReadAll")
    rows = "".join(
        f"<{TRACKING_SERVICE}><Object>{name}</Object><Enabled>{str(name in crm.tracked).lower()}</Enabled>"
        f"</{TRACKING_SERVICE}>"
        for name in RECORD_TYPES
    )
    listed = f'<ListOf{TRACKING_SERVICE} xmlns="{TRACKING_DATA_NAMESPACE}">{rows}</ListOf{TRACKING_SERVICE}>'
    return answer(f"{TRACKING_SERVICE}ReadAll_Output", TRACKING_NAMESPACE, listed)


def deleted_items(crm: Crm, request: etree._Element) -> str:
    """The answer of DeletedItemQueryPage, in order of deletion. Raises :class:`faults.SoapFault`."""
    size = _number(request, "PageSize", QUERY_PAGE_ROWS)
    start = _number(request, "StartRowNum", 0)
    if not 1 <= size <= MAX_PAGE_ROWS:
        raise faults.ObjectFault(("SBL-EAI-04447", f"The page size must be 1 to {MAX_PAGE_ROWS}"))
    rows = child(request, "ListOfDeletedItem")
    row = child(rows, "DeletedItem") if rows is not None else None
    if row is None:
        raise faults.malformed("there is no DeletedItem in a ListOfDeletedItem")
    asked: list[str] = []
    criteria: list[Node] = []
    for element in children(row):
        name = local(element)
        if name not in DELETED_ITEM_FIELDS:
            raise faults.unknown_element(name, "DeletedItem")
        asked.append(name)
        if criterion := text_of(element):
            try:
                criteria.append(parse_template(name, criterion))
            except SearchSpecError as error:
                raise faults.wrapped("DeletedItem", "SBL-DAT-00481", str(error)) from error
    # Deletions are listed as they happen, and the clock does not go back.
    found = [item for item in crm.deleted_items.values() if all(_holds(item, node, crm.user_zone) for node in criteria)]
    shown = found[start : start + size]
    crm.spend("DeletedItemQueryPage")
    names = [name for name in DELETED_ITEM_FIELDS if name in asked]
    content = "".join(_row(item, names, crm.user_zone) for item in shown)
    last = "true" if start + size >= len(found) else "false"
    listed = (
        f"<ns:LastPage>{last}</ns:LastPage>"
        f'<ListOfDeletedItem xmlns="{DELETED_ITEM_DATA_NAMESPACE}">{content}</ListOfDeletedItem>'
    )
    return answer("DeletedItemWS_DeletedItemQueryPage_Output", DELETED_ITEM_NAMESPACE, listed)


def _row(item: DeletedItem, names: list[str], zone: timedelta) -> str:
    values = {
        "DeletedItemId": item.id,
        "DeletedById": "",
        "DeletedBy": item.deleted_by,
        "DeletedDate": item.shown_date or (parse_stamp(item.deleted_at) + zone).strftime(V1_FORMAT),
        "Name": item.name,
        "ObjectId": item.object_id,
        "Type": item.type,
        "ExternalSystemId": item.external_system_id or "",
    }
    cells = (f"<{name}>{escaped(values[name])}</{name}>" if values[name] else f"<{name}/>" for name in names)
    return f"<DeletedItem>{''.join(cells)}</DeletedItem>"


def _zone_label(zone: timedelta) -> str:
    if not zone:
        return "(GMT) Coordinated Universal Time"
    hours, minutes = divmod(abs(zone) // timedelta(minutes=1), 60)
    return f"(GMT{'-' if zone < timedelta(0) else '+'}{hours:02}:{minutes:02}) The user's zone"


def _holds(item: DeletedItem, node: Node, zone: timedelta) -> bool:
    if isinstance(node, Joined):
        results = (_holds(item, term, zone) for term in node.terms)
        return all(results) if node.operator == "AND" else any(results)
    return _compare(item, node, zone)


def _compare(item: DeletedItem, node: Comparison, zone: timedelta) -> bool:
    literal = node.literal or ""
    if node.field == "DeletedDate":
        value = item.deleted_at
        try:
            literal = stamp(parse_stamp(literal) - zone)
        except ValueError as error:
            raise faults.wrapped("DeletedItem", "SBL-DAT-00481", str(error)) from error
    else:
        value = {"DeletedItemId": item.id, "ObjectId": item.object_id, "Type": item.type, "Name": item.name}.get(
            node.field, ""
        )
    match node.operator:
        case "=":
            return value == literal
        case "<>":
            return value != literal
        case ">":
            return value > literal
        case ">=":
            return value >= literal
        case "<":
            return value < literal
        case "<=":
            return value <= literal
    raise faults.wrapped("DeletedItem", "SBL-DAT-00481", f"{node.operator} is not offered by this service")


def _number(request: etree._Element, name: str, default: int) -> int:
    text = text_of(child(request, name))
    if not text:
        return default
    if not text.isdecimal():
        raise faults.malformed(f"{name} is not a number")
    return int(text)
