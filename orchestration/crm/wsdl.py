"""WSDLs by directory, loaded by zeep once a process and shared.

Services are found by the name of an operation's input element, which is the same in every variant of a WSDL (generic
or company-specific); file names do not matter.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import zeep
import zeep.exceptions
from lxml import etree
from zeep.wsdl import Document

from orchestration.crm.errors import ConfigurationError

_PART = "{http://schemas.xmlsoap.org/wsdl/}part"
_ZEEP = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=True, xml_huge_tree=False)
_loading = threading.Lock()


@dataclass(frozen=True)
class Operation:
    """One operation of one service; builds its unsigned envelopes by zeep."""

    path: Path
    name: str
    client: Any
    binding: Any
    zeep_operation: Any

    @property
    def soap_action(self) -> str:
        return str(self.zeep_operation.soapaction)

    @property
    def arguments(self) -> frozenset[str]:
        """Names of the input element's parts."""
        return frozenset(name for name, _ in self.zeep_operation.input.body.type.elements)

    def envelope(self, **arguments: Any) -> etree._Element:
        """A SOAP envelope without security. Raises :class:`ConfigurationError` where the WSDL lacks a name used."""
        service = self.client.create_service(self.binding.name, "")
        try:
            with _loading:  # zeep resolves types lazily while serialising
                envelope = self.client.create_message(service, self.name, **arguments)
        except (TypeError, zeep.exceptions.Error) as error:
            reason = str(error).partition(" Signature:")[0]
            raise ConfigurationError(f"{self.path}: {self.name} does not take this request: {reason}") from error
        assert isinstance(envelope, etree._Element)
        return envelope


class WsdlDirectory:
    """The WSDLs that one CRM offers."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths: dict[str, Path] | None = None
        self._operations: dict[str, Operation] = {}

    def operation(self, input_element: str) -> Operation:
        """The operation whose input element has this local name.

        Raises :class:`ConfigurationError` if no file, or more than one, declares it.
        """
        with _loading:
            if self._paths is None:
                self._paths = _inputs(self._directory)
            if input_element not in self._operations:
                path = self._paths.get(input_element)
                if path is None:
                    raise ConfigurationError(f"{self._directory}: no WSDL here declares {input_element}")
                self._operations[input_element] = _operation(path, input_element)
            return self._operations[input_element]


def _operation(path: Path, input_element: str) -> Operation:
    document = _document(path, path.stat().st_mtime_ns)
    client: Any = zeep.Client(document, settings=_ZEEP)  # type: ignore[no-untyped-call]
    for binding in document.bindings.values():
        for name, operation in getattr(binding, "_operations", {}).items():
            body = operation.input.body
            if body is not None and body.qname.localname == input_element:
                return Operation(path, name, client, binding, operation)
    raise ConfigurationError(f"{path}: {input_element} belongs to no bound SOAP operation")


def _inputs(directory: Path) -> dict[str, Path]:
    """Every message element declared in the directory's WSDLs, with its file."""
    found: dict[str, Path] = {}
    for path in sorted({*directory.glob("*.wsdl"), *directory.glob("*.wsdl.xml")}):
        try:
            tree = etree.parse(path, etree.XMLParser(resolve_entities=False, no_network=True))
        except (OSError, etree.XMLSyntaxError) as error:
            raise ConfigurationError(f"{path}: not a readable WSDL: {error}") from error
        for part in tree.iter(_PART):
            name = str(part.get("element", "")).rpartition(":")[2]
            if name.endswith("_Input") and found.setdefault(name, path) != path:
                raise ConfigurationError(f"{path}: {name} is also declared by {found[name].name}; keep one of them")
    return found


@lru_cache(maxsize=64)
def _document(path: Path, _modified_ns: int) -> Document:
    try:
        transport: Any = zeep.Transport()  # type: ignore[no-untyped-call]
        return Document(str(path.resolve()), transport, settings=_ZEEP)
    except (zeep.exceptions.Error, etree.XMLSyntaxError, ValueError) as error:
        raise ConfigurationError(f"{path}: zeep cannot load this WSDL: {error}") from error
