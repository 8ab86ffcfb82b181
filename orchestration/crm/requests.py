"""QueryPage requests: one envelope a service and set of fields, copied for each call."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import Any

from lxml import etree

from orchestration.catalog import Link
from orchestration.crm.errors import ConfigurationError
from orchestration.crm.queries import Query
from orchestration.crm.wsdl import Operation, WsdlDirectory

MAX_PAGE_SIZE_ROWS = 100
MAX_VALUES_A_QUERY = 50


@dataclass(frozen=True)
class Request:
    """An unsigned envelope for one operation. ``operations`` is what sending it costs at the CRM."""

    operation: Operation
    envelope: etree._Element
    operations: int


@dataclass(frozen=True)
class _Template:
    operation: Operation
    envelope: etree._Element
    service: str

    def request(
        self, query: Query, start_row: int, page_size: int, count: bool, child_page: tuple[Link, int] | None
    ) -> Request:
        envelope = copy.deepcopy(self.envelope)
        rows = _descendant(envelope, f"ListOf{self.service}")
        rows.set("pagesize", str(page_size))
        rows.set("startrownum", str(start_row))
        rows.set("recordcountneeded", "true" if count else "false")
        row = rows[0]
        if query.searchspec:
            row.set("searchspec", query.searchspec)
        _sort(_child(row, query.sort_field), query.sort_descending)
        if child_page is not None:
            # Only a list that is paged needs an order, so the common case asks for nothing unusual.
            link, child_start_row = child_page
            children = _child(row, link.list)
            children.set("startrownum", str(child_start_row))
            _sort(_child(children[0], link.field), descending=False)
        arguments = rows.getparent()
        assert arguments is not None
        _child(arguments, "ViewMode").text = query.view_mode
        if query.book_id is not None:
            _child(arguments, "BookId").text = query.book_id
        return Request(self.operation, envelope, operations=1)


class RequestFactory:
    """Builds requests; templates are kept for the life of the factory. Thread-safe."""

    def __init__(self, wsdls: WsdlDirectory) -> None:
        self._wsdls = wsdls
        self._templates: dict[tuple[Any, ...], _Template] = {}
        self._lock = threading.Lock()

    def query_page(
        self,
        query: Query,
        start_row: int,
        page_size: int,
        count: bool = False,
        child_page: tuple[Link, int] | None = None,
    ) -> Request:
        """``child_page`` asks for one child list from the given row on, sorted, instead of all from their start."""
        key = (query.object.service, tuple(query.types), query.links, query.book_id is not None)
        with self._lock:
            template = self._templates.get(key)
            if template is None:
                template = self._templates[key] = self._template(query)
            return template.request(query, start_row, page_size, count, child_page)

    def _template(self, query: Query) -> _Template:
        service = query.object.service
        operation = self._wsdls.operation(f"{service}QueryPage_Input")
        row: dict[str, Any] = dict.fromkeys(query.types, "")
        for link in query.links:
            child = row.setdefault(link.list, {link.row: {}, "pagesize": MAX_PAGE_SIZE_ROWS, "startrownum": 0})
            child[link.row][link.field] = ""
        fixed = {"LOVLanguageMode": "LIC", "ViewMode": query.view_mode}
        if query.book_id is not None:
            fixed |= {"BookId": query.book_id, "IncludeSubBooks": "false"}
        if missing := fixed.keys() - operation.arguments:
            raise ConfigurationError(f"{operation.path}: {operation.name} takes no {' or '.join(sorted(missing))}")
        rows = {service: row, "pagesize": MAX_PAGE_SIZE_ROWS, "startrownum": 0, "recordcountneeded": False}
        envelope = operation.envelope(**{f"ListOf{service}": rows}, **fixed)
        return _Template(operation, envelope, service)


def _descendant(element: etree._Element, name: str) -> etree._Element:
    return next(iter(element.iter(f"{{*}}{name}")))


def _child(element: etree._Element, name: str) -> etree._Element:
    return next(iter(element.iterchildren(f"{{*}}{name}")))


def _sort(element: etree._Element, descending: bool) -> None:
    element.set("sortorder", "DESC" if descending else "ASC")
    element.set("sortsequence", "1")
