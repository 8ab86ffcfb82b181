"""WSDL 1.1 files in the pattern of the real ones: three schemas a v2.0 service, others for the older services."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from crm_simulator.kinds import ObjectType
from crm_simulator.older_wsdls import TRACKING_SERVICE, deleted_item_wsdl, time_wsdl, tracking_wsdl
from crm_simulator.schema import OBJECTS
from crm_simulator.wsdl_parts import DATA, QUERY, add_schema, bind, element_of, new_definitions, optional, types_of, xsd


def write_all(directory: Path, tagged: bool = False) -> None:
    """Write one ``<Service>.wsdl`` a service; ``tagged`` with the company's own names of custom fields."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in all_wsdls(tagged).items():
        (directory / name).write_bytes(content)


def all_wsdls(tagged: bool = False) -> dict[str, bytes]:
    """Every service's file name and content, always the same."""
    trees = {kind.name: object_wsdl(kind, tagged) for kind in OBJECTS.values() if kind.top_level}
    trees |= {"DeletedItem": deleted_item_wsdl(), "Time": time_wsdl(), TRACKING_SERVICE: tracking_wsdl()}
    return {
        f"{name}.wsdl": etree.tostring(tree, xml_declaration=True, encoding="UTF-8", pretty_print=True)
        for name, tree in sorted(trees.items())
    }


def object_wsdl(kind: ObjectType, tagged: bool = False) -> etree._Element:
    """The v2.0 service of one object."""
    definitions = new_definitions(kind.namespace(tagged), kind.query_namespace, kind.data_namespace)
    types = types_of(definitions)
    _query_schema(add_schema(types, kind.query_namespace), kind, tagged)
    _data_schema(add_schema(types, kind.data_namespace), kind, tagged)
    service = add_schema(types, kind.namespace(tagged), kind.query_namespace, kind.data_namespace)
    list_name = f"ListOf{kind.name}"
    for operation in kind.operations:
        source = QUERY if operation == "QueryPage" else DATA
        request = element_of(service, f"{kind.name}{operation}_Input")
        xsd(request, "element", ref=f"{source}:{list_name}")
        arguments = ["LOVLanguageMode", "ViewMode"]
        if operation != "QueryPage":
            arguments.append("Echo")
        elif kind.name in ("Account", "Contact", "Opportunity", "Activity", "Order"):
            arguments = ["BookName", "BookId", "IncludeSubBooks", *arguments]
        for argument in arguments:
            optional(request, argument, "xsd:string")
        answer = element_of(service, f"{kind.name}{operation}_Output")
        xsd(answer, "element", ref=f"{DATA}:{list_name}")
    messages = {f"{kind.name}{operation}": f"{kind.name}{operation}" for operation in kind.operations}
    bind(definitions, kind.name, kind.name, (kind.name, kind.name), messages)
    return definitions


def _query_schema(schema: etree._Element, kind: ObjectType, tagged: bool) -> None:
    xsd(schema, "element", name=f"ListOf{kind.name}", type=f"{QUERY}:ListOf{kind.name}Query")
    levels = [(kind.name, kind)] + [(child.row, OBJECTS[child.target]) for child in kind.children]
    for name, level in levels:
        rows = xsd(schema, "complexType", name=f"ListOf{name}Query")
        optional(xsd(rows, "sequence"), name, f"{QUERY}:{name}Query")
        for attribute, type_ in (("pagesize", "integer"), ("startrownum", "integer"), ("recordcountneeded", "boolean")):
            xsd(rows, "attribute", name=attribute, type=f"xsd:{type_}")
        row = xsd(schema, "complexType", name=f"{name}Query")
        members = xsd(row, "all")
        for field in level.fields:
            optional(members, field.element(tagged), f"{QUERY}:queryType")
        for child in level.children:
            optional(members, child.list, f"{QUERY}:ListOf{child.row}Query")
        xsd(row, "attribute", name="searchspec", type="xsd:string")
    criterion = xsd(schema, "complexType", name="queryType")
    extension = xsd(xsd(criterion, "simpleContent"), "extension", base="xsd:string")
    for attribute in ("sortorder", "sortsequence"):
        xsd(extension, "attribute", name=attribute, type="xsd:string")


def _data_schema(schema: etree._Element, kind: ObjectType, tagged: bool) -> None:
    xsd(schema, "element", name=f"ListOf{kind.name}", type=f"{DATA}:ListOf{kind.name}Data")
    levels = [(kind.name, kind)] + [(child.row, OBJECTS[child.target]) for child in kind.children]
    for name, level in levels:
        rows = xsd(schema, "complexType", name=f"ListOf{name}Data")
        optional(xsd(rows, "sequence"), name, f"{DATA}:{name}Data", "unbounded")
        xsd(rows, "attribute", name="lastpage", type="xsd:boolean")
        xsd(rows, "attribute", name="recordcount", type="xsd:integer")
        row = xsd(schema, "complexType", name=f"{name}Data")
        members = xsd(row, "all")
        for field in level.fields:
            optional(members, field.element(tagged), f"xsd:{field.type}")
        for child in level.children:
            optional(members, child.list, f"{DATA}:ListOf{child.row}Data")
        xsd(row, "attribute", name="operation", type="xsd:string")
