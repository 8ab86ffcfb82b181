"""WSDL 1.1 files in the pattern of the real ones: three schemas a v2.0 service, one or none for the older services."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from crm_simulator.kinds import Field, ObjectType
from crm_simulator.schema import OBJECTS

ADDRESS = "https://secure-ausomxxxx.crmondemand.com/Services/Integration"
DELETED_ITEM_NAMESPACE = "urn:crmondemand/ws/deleteditem/"
DELETED_ITEM_DATA_NAMESPACE = "urn:/crmondemand/xml/deleteditem"
DELETED_ITEM_FIELDS = {
    "DeletedItemId": 30,
    "DeletedById": None,
    "DeletedBy": None,
    "DeletedDate": None,
    "Name": 255,
    "ObjectId": None,
    "Type": 30,
    "ExternalSystemId": 30,
}
TIME_NAMESPACE = "urn:crmondemand/ws/time/"

_WSDL = "http://schemas.xmlsoap.org/wsdl/"
_SOAP = "http://schemas.xmlsoap.org/wsdl/soap/"
_XSD = "http://www.w3.org/2001/XMLSchema"
_SERVICE, _QUERY, _DATA = "tns", "xsdLocal1", "xsdLocal2"


def write_all(directory: Path) -> None:
    """Write one ``<Service>.wsdl`` a service."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in all_wsdls().items():
        (directory / name).write_bytes(content)


def all_wsdls() -> dict[str, bytes]:
    """Every service's file name and content, always the same."""
    trees = {kind.name: object_wsdl(kind) for kind in OBJECTS.values() if kind.top_level}
    trees |= {"DeletedItem": deleted_item_wsdl(), "Time": time_wsdl()}
    return {
        f"{name}.wsdl": etree.tostring(tree, xml_declaration=True, encoding="UTF-8", pretty_print=True)
        for name, tree in sorted(trees.items())
    }


def _xsd(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{_XSD}}}{tag}", attributes)


def _optional(parent: etree._Element, name: str, type_: str, maximum: str = "1") -> etree._Element:
    return _xsd(parent, "element", name=name, type=type_, minOccurs="0", maxOccurs=maximum)


def _schema(types: etree._Element, namespace: str, *imports: str) -> etree._Element:
    schema = _xsd(
        types,
        "schema",
        targetNamespace=namespace,
        elementFormDefault="qualified",
        attributeFormDefault="unqualified",
    )
    for imported in imports:
        _xsd(schema, "import", namespace=imported)
    return schema


def _element_of(schema: etree._Element, name: str) -> etree._Element:
    """A global element with an anonymous sequence, which is returned."""
    return _xsd(_xsd(_xsd(schema, "element", name=name), "complexType"), "sequence")


def _definitions(service_namespace: str, *data_namespaces: str) -> etree._Element:
    prefixes: dict[str | None, str] = {None: _WSDL, "soap": _SOAP, "xsd": _XSD, _SERVICE: service_namespace}
    prefixes |= dict(zip((_QUERY, _DATA), data_namespaces, strict=False))
    return etree.Element(
        f"{{{_WSDL}}}definitions",
        {"targetNamespace": service_namespace},
        nsmap=prefixes,  # type: ignore[arg-type]  # the stubs do not know the default namespace
    )


def object_wsdl(kind: ObjectType) -> etree._Element:
    """The v2.0 service of one object."""
    definitions = _definitions(kind.service_namespace, kind.query_namespace, kind.data_namespace)
    types = etree.SubElement(definitions, f"{{{_WSDL}}}types")
    _query_schema(_schema(types, kind.query_namespace), kind)
    _data_schema(_schema(types, kind.data_namespace), kind)
    service = _schema(types, kind.service_namespace, kind.query_namespace, kind.data_namespace)
    list_name = f"ListOf{kind.name}"
    for operation in kind.operations:
        source = _QUERY if operation == "QueryPage" else _DATA
        request = _element_of(service, f"{kind.name}{operation}_Input")
        _xsd(request, "element", ref=f"{source}:{list_name}")
        arguments = ["LOVLanguageMode", "ViewMode"]
        if operation != "QueryPage":
            arguments.append("Echo")
        elif kind.name in ("Account", "Contact", "Opportunity", "Activity", "Order"):
            arguments = ["BookName", "BookId", "IncludeSubBooks", *arguments]
        for argument in arguments:
            _optional(request, argument, "xsd:string")
        answer = _element_of(service, f"{kind.name}{operation}_Output")
        _xsd(answer, "element", ref=f"{_DATA}:{list_name}")
    messages = {f"{kind.name}{operation}": f"{kind.name}{operation}" for operation in kind.operations}
    _bind(definitions, kind.name, kind.name, (kind.name, kind.name), messages)
    return definitions


def _query_schema(schema: etree._Element, kind: ObjectType) -> None:
    _xsd(schema, "element", name=f"ListOf{kind.name}", type=f"{_QUERY}:ListOf{kind.name}Query")
    levels = [(kind.name, kind)] + [(child.row, OBJECTS[child.target]) for child in kind.children]
    for name, level in levels:
        rows = _xsd(schema, "complexType", name=f"ListOf{name}Query")
        _optional(_xsd(rows, "sequence"), name, f"{_QUERY}:{name}Query")
        for attribute, type_ in (("pagesize", "integer"), ("startrownum", "integer"), ("recordcountneeded", "boolean")):
            _xsd(rows, "attribute", name=attribute, type=f"xsd:{type_}")
        row = _xsd(schema, "complexType", name=f"{name}Query")
        members = _xsd(row, "all")
        for field in level.fields:
            _optional(members, field.name, f"{_QUERY}:queryType")
        for child in level.children:
            _optional(members, child.list, f"{_QUERY}:ListOf{child.row}Query")
        _xsd(row, "attribute", name="searchspec", type="xsd:string")
    criterion = _xsd(schema, "complexType", name="queryType")
    extension = _xsd(_xsd(criterion, "simpleContent"), "extension", base="xsd:string")
    for attribute in ("sortorder", "sortsequence"):
        _xsd(extension, "attribute", name=attribute, type="xsd:string")


def _data_schema(schema: etree._Element, kind: ObjectType) -> None:
    _xsd(schema, "element", name=f"ListOf{kind.name}", type=f"{_DATA}:ListOf{kind.name}Data")
    levels = [(kind.name, kind)] + [(child.row, OBJECTS[child.target]) for child in kind.children]
    for name, level in levels:
        rows = _xsd(schema, "complexType", name=f"ListOf{name}Data")
        _optional(_xsd(rows, "sequence"), name, f"{_DATA}:{name}Data", "unbounded")
        _xsd(rows, "attribute", name="lastpage", type="xsd:boolean")
        _xsd(rows, "attribute", name="recordcount", type="xsd:integer")
        row = _xsd(schema, "complexType", name=f"{name}Data")
        members = _xsd(row, "all")
        for field in level.fields:
            _optional(members, field.name, _type(field))
        for child in level.children:
            _optional(members, child.list, f"{_DATA}:ListOf{child.row}Data")
        _xsd(row, "attribute", name="operation", type="xsd:string")


def _type(field: Field) -> str:
    return f"xsd:{field.type}"


def deleted_item_wsdl() -> etree._Element:
    """The v1.0 style service that lists deleted items."""
    definitions = _definitions(DELETED_ITEM_NAMESPACE, DELETED_ITEM_DATA_NAMESPACE)
    types = etree.SubElement(definitions, f"{{{_WSDL}}}types")
    data = _schema(types, DELETED_ITEM_DATA_NAMESPACE)
    _xsd(data, "element", name="ListOfDeletedItem", type=f"{_QUERY}:ListOfDeletedItem")
    rows = _xsd(_xsd(data, "complexType", name="ListOfDeletedItem"), "sequence")
    _optional(rows, "DeletedItem", f"{_QUERY}:DeletedItem", "unbounded")
    members = _xsd(_xsd(data, "complexType", name="DeletedItem"), "sequence")
    for name, length in DELETED_ITEM_FIELDS.items():
        _optional(members, name, f"{_QUERY}:string{length}" if length else "xsd:string")
    for length in (30, 255):
        restriction = _xsd(_xsd(data, "simpleType", name=f"string{length}"), "restriction", base="xsd:string")
        _xsd(restriction, "maxLength", value=str(length))
    service = _schema(types, DELETED_ITEM_NAMESPACE, DELETED_ITEM_DATA_NAMESPACE)
    request = _element_of(service, "DeletedItemWS_DeletedItemQueryPage_Input")
    _xsd(request, "element", name="PageSize", type="xsd:string", minOccurs="0")
    _xsd(request, "element", ref=f"{_QUERY}:ListOfDeletedItem")
    _xsd(request, "element", name="StartRowNum", type="xsd:string", minOccurs="0")
    answer = _element_of(service, "DeletedItemWS_DeletedItemQueryPage_Output")
    _xsd(answer, "element", name="LastPage", type="xsd:string")
    _xsd(answer, "element", ref=f"{_QUERY}:ListOfDeletedItem")
    messages = {"DeletedItemQueryPage": "DeletedItemWS_DeletedItemQueryPage"}
    _bind(definitions, "DeletedItem", "Default_Binding_deleteditem", ("Default_Binding", "Default"), messages)
    return definitions


def time_wsdl() -> etree._Element:
    """The service that tells the server's time."""
    definitions = _definitions(TIME_NAMESPACE)
    schema = _schema(etree.SubElement(definitions, f"{{{_WSDL}}}types"), TIME_NAMESPACE)
    _element_of(schema, "TimeWS_GetServerTime_Input")
    answer = _element_of(schema, "TimeWS_GetServerTime_Output")
    for name in ("CurrentServerTime", "TimeZone"):
        _xsd(answer, "element", name=name, type="xsd:string")
    messages = {"GetServerTime": "TimeWS_GetServerTime"}
    _bind(definitions, "Time", "Default_Binding_Time", ("Default_Binding", "Default"), messages)
    return definitions


def _bind(
    definitions: etree._Element, service: str, port_type: str, binding_port: tuple[str, str], messages: dict[str, str]
) -> None:
    """Messages, port type, binding and service; ``messages`` maps an operation to its messages' common name."""
    namespace = definitions.get("targetNamespace")
    binding_name, port_name = binding_port

    def add(parent: etree._Element, tag: str, space: str = _WSDL, **attributes: str) -> etree._Element:
        return etree.SubElement(parent, f"{{{space}}}{tag}", attributes)

    for message in messages.values():
        for name in (f"{message}_Input", f"{message}_Output"):
            add(add(definitions, "message", name=name), "part", name=name, element=f"{_SERVICE}:{name}")
    port = add(definitions, "portType", name=port_type)
    for operation, message in messages.items():
        entry = add(port, "operation", name=operation)
        add(entry, "input", message=f"{_SERVICE}:{message}_Input")
        add(entry, "output", message=f"{_SERVICE}:{message}_Output")
    binding = add(definitions, "binding", name=binding_name, type=f"{_SERVICE}:{port_type}")
    add(binding, "binding", _SOAP, transport="http://schemas.xmlsoap.org/soap/http", style="document")
    for operation in messages:
        entry = add(binding, "operation", name=operation)
        add(entry, "operation", _SOAP, soapAction=f"document/{namespace}:{operation}")
        for direction in ("input", "output"):
            add(add(entry, direction), "body", _SOAP, use="literal")
    offered = add(definitions, "service", name=service)
    address = add(offered, "port", name=port_name, binding=f"{_SERVICE}:{binding_name}")
    add(address, "address", _SOAP, location=ADDRESS)
