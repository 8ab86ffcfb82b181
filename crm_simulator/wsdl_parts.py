"""The pieces that all WSDL files are put together from."""

from __future__ import annotations

from lxml import etree

ADDRESS = "https://secure-ausomxxxx.crmondemand.com/Services/Integration"

_WSDL = "http://schemas.xmlsoap.org/wsdl/"
_SOAP = "http://schemas.xmlsoap.org/wsdl/soap/"
_XSD = "http://www.w3.org/2001/XMLSchema"
SERVICE, QUERY, DATA = "tns", "xsdLocal1", "xsdLocal2"


def xsd(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{_XSD}}}{tag}", attributes)


def optional(parent: etree._Element, name: str, type_: str, maximum: str = "1") -> etree._Element:
    return xsd(parent, "element", name=name, type=type_, minOccurs="0", maxOccurs=maximum)


def add_schema(types: etree._Element, namespace: str, *imports: str) -> etree._Element:
    schema = xsd(
        types,
        "schema",
        targetNamespace=namespace,
        elementFormDefault="qualified",
        attributeFormDefault="unqualified",
    )
    for imported in imports:
        xsd(schema, "import", namespace=imported)
    return schema


def element_of(schema: etree._Element, name: str) -> etree._Element:
    """A global element with an anonymous sequence, which is returned."""
    return xsd(xsd(xsd(schema, "element", name=name), "complexType"), "sequence")


def new_definitions(service_namespace: str, *data_namespaces: str) -> etree._Element:
    prefixes: dict[str | None, str] = {None: _WSDL, "soap": _SOAP, "xsd": _XSD, SERVICE: service_namespace}
    prefixes |= dict(zip((QUERY, DATA), data_namespaces, strict=False))
    return etree.Element(
        f"{{{_WSDL}}}definitions",
        {"targetNamespace": service_namespace},
        nsmap=prefixes,  # type: ignore[arg-type]  # the stubs do not know the default namespace
    )


def types_of(definitions: etree._Element) -> etree._Element:
    """The place for the schemas, which comes first."""
    return etree.SubElement(definitions, f"{{{_WSDL}}}types")


def bind(
    definitions: etree._Element,
    service: str,
    port_type: str,
    binding_port: tuple[str, str],
    messages: dict[str, str],
    address: str = ADDRESS,
) -> None:
    """Messages, port type, binding and service; ``messages`` maps an operation to its messages' common name."""
    namespace = definitions.get("targetNamespace")
    binding_name, port_name = binding_port

    def add(parent: etree._Element, tag: str, space: str = _WSDL, **attributes: str) -> etree._Element:
        return etree.SubElement(parent, f"{{{space}}}{tag}", attributes)

    for message in messages.values():
        for name in (f"{message}_Input", f"{message}_Output"):
            add(add(definitions, "message", name=name), "part", name=name, element=f"{SERVICE}:{name}")
    port = add(definitions, "portType", name=port_type)
    for operation, message in messages.items():
        entry = add(port, "operation", name=operation)
        add(entry, "input", message=f"{SERVICE}:{message}_Input")
        add(entry, "output", message=f"{SERVICE}:{message}_Output")
    binding = add(definitions, "binding", name=binding_name, type=f"{SERVICE}:{port_type}")
    add(binding, "binding", _SOAP, transport="http://schemas.xmlsoap.org/soap/http", style="document")
    for operation in messages:
        entry = add(binding, "operation", name=operation)
        add(entry, "operation", _SOAP, soapAction=f"document/{namespace}:{operation}")
        for direction in ("input", "output"):
            add(add(entry, direction), "body", _SOAP, use="literal")
    offered = add(definitions, "service", name=service)
    place = add(offered, "port", name=port_name, binding=f"{SERVICE}:{binding_name}")
    add(place, "address", _SOAP, location=address)
