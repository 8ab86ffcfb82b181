"""SOAP in and out: the hardened reader, lax matching by local names, and rows as XML text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lxml import etree

from crm_simulator.faults import ENVELOPE_NAMESPACE, malformed
from crm_simulator.kinds import TAGGED_SUFFIX
from crm_simulator.records import Record

_ACTION = re.compile(r'"?\s*document/urn:crmondemand/ws/[^:]*:(\w+)\s*"?\Z')
_SPECIAL = re.compile("[&<>\r]")
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_XSD = "http://www.w3.org/2001/XMLSchema"


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str


@dataclass(frozen=True)
class Call:
    """A parsed request: the operation (``AccountQueryPage``), its input element, and what the header says."""

    operation: str
    input: etree._Element
    credentials: Credentials | None
    keep_session: bool

    @property
    def tagged(self) -> bool:
        """Whether it speaks the company-specific WSDLs' language."""
        return (etree.QName(self.input).namespace or "").endswith(TAGGED_SUFFIX)


def local(element: etree._Element) -> str:
    return etree.QName(element).localname


def children(element: etree._Element) -> list[etree._Element]:
    return [child for child in element if isinstance(child.tag, str)]


def child(element: etree._Element, name: str) -> etree._Element | None:
    return next((found for found in children(element) if local(found) == name), None)


def text_of(element: etree._Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""


def parse_call(body: bytes, action: str | None) -> Call:
    """Read a request; without a SOAPAction the body's element decides. Raises :class:`FrontEndFault`."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise malformed("it is not well-formed XML") from None
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr]
        raise malformed("a document type declaration is not allowed")
    envelope_body = child(root, "Body")
    if local(root) != "Envelope" or envelope_body is None or not children(envelope_body):
        raise malformed("there is no SOAP body")
    input_element = children(envelope_body)[0]
    # Older services put a prefix in front: TimeWS_GetServerTime_Input.
    named = local(input_element).rpartition("WS_")[2].removesuffix("_Input")
    operation = named
    if action and action.strip().strip('"'):
        match = _ACTION.match(action.strip())
        if match is None:
            raise malformed("the SOAPAction names no operation")
        operation = match[1]
        if operation != named:
            raise malformed(f"the SOAPAction asks for {operation}, the body for {named}")
    header = child(root, "Header")
    keep = text_of(child(header, "SessionKeepAlive")) if header is not None else ""
    return Call(operation, input_element, _credentials(header), keep.lower() in ("true", "1"))


def _credentials(header: etree._Element | None) -> Credentials | None:
    security = child(header, "Security") if header is not None else None
    token = child(security, "UsernameToken") if security is not None else None
    if token is None:
        return None
    password = child(token, "Password")
    return Credentials(text_of(child(token, "Username")), (password.text or "") if password is not None else "")


def answer(output: str, service_namespace: str, content: str) -> str:
    """The answer envelope around ``content``, which is the inside of the output element."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE_NAMESPACE}" '
        f'xmlns:xsi="{_XSI}" xmlns:xsd="{_XSD}"><SOAP-ENV:Body>'
        f'<ns:{output} xmlns:ns="{service_namespace}">{content}</ns:{output}></SOAP-ENV:Body></SOAP-ENV:Envelope>'
    )


def escaped(value: str) -> str:
    return escape(value, {"\r": "&#13;"}) if _SPECIAL.search(value) else value


@dataclass(frozen=True)
class Column:
    """A field to write out: blank strings become empty elements, other blanks are left out."""

    name: str
    read: Callable[[Record], str | None]
    blank: str


def column(name: str, type_: str, read: Callable[[Record], str | None]) -> Column:
    return Column(name, read, f"<{name}/>" if type_ == "string" else "")


def cells(record: Record, columns: Iterable[Column]) -> str:
    """The fields of one row as elements."""
    parts = []
    for column_ in columns:
        value = column_.read(record)
        if value is None:
            parts.append(column_.blank)
        else:
            parts.append(f"<{column_.name}>{escaped(value)}</{column_.name}>")
    return "".join(parts)
