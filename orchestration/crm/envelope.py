"""The SOAP envelope of an answer: a hardened parser, and how its elements are found, whatever their prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from lxml import etree

from orchestration.crm.errors import CrmAnswerError

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def parse(content: bytes) -> etree._Element:
    """The SOAP envelope's root. Raises :class:`CrmAnswerError` for whatever is not one, complete and without a DTD."""
    if not content.strip():
        raise CrmAnswerError("the answer is empty")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise CrmAnswerError("the answer is not well-formed XML (cut off, not XML, or hostile)") from error
    if local_name(root.tag).lower() == "html":
        raise CrmAnswerError("the answer is an HTML page: the CRM may be down, or CRMOD_URL wrong")
    if _doctype(root):
        raise CrmAnswerError("the answer has a document type declaration, which SOAP forbids")
    if local_name(root.tag) != "Envelope" or body_of(root) is None:
        raise CrmAnswerError("the answer is XML but no SOAP envelope")
    return root


def _doctype(root: etree._Element) -> str:
    info: Any = root.getroottree().docinfo
    return str(info.doctype)


def body_of(root: etree._Element) -> etree._Element | None:
    return next(children_named(root, "Body"), None)


def list_element(root: etree._Element, service: str) -> etree._Element:
    """The one ``ListOf...`` element of the answer."""
    body = body_of(root)
    output = next((e for e in body if str(local_name(e.tag)).endswith("_Output")), None) if body is not None else None
    rows = list(children_named(output, f"ListOf{service}")) if output is not None else []
    if len(rows) != 1:
        raise CrmAnswerError(f"the answer holds no ListOf{service}")
    return rows[0]


def children_named(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return (child for child in element if local_name(child.tag) == name)


@lru_cache(maxsize=4096)
def local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def flag_of(text: str | None) -> bool | None:
    return None if text is None else _FLAGS.get(text.strip().lower())
