"""The WSDL files of services that are not in the v2.0 pattern: deleted items, time, and an administrative one."""

from __future__ import annotations

from lxml import etree

from crm_simulator.wsdl_parts import QUERY, add_schema, bind, element_of, new_definitions, optional, types_of, xsd

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
# The manual shows the elements; the namespaces are a guess after other administrative services.
TRACKING_SERVICE = "EnableModificationTracking"
TRACKING_NAMESPACE = "urn:crmondemand/ws/odesabs/enablemodificationtracking/"
TRACKING_DATA_NAMESPACE = "urn:/crmondemand/xml/enablemodificationtracking/data"
_TRACKING_ADDRESS = "https://secure-ausomxxxx.crmondemand.com/Services/cte/EnableModificationTrackingService"


def deleted_item_wsdl() -> etree._Element:
    """The v1.0 style service that lists deleted items."""
    definitions = new_definitions(DELETED_ITEM_NAMESPACE, DELETED_ITEM_DATA_NAMESPACE)
    types = types_of(definitions)
    data = add_schema(types, DELETED_ITEM_DATA_NAMESPACE)
    xsd(data, "element", name="ListOfDeletedItem", type=f"{QUERY}:ListOfDeletedItem")
    rows = xsd(xsd(data, "complexType", name="ListOfDeletedItem"), "sequence")
    optional(rows, "DeletedItem", f"{QUERY}:DeletedItem", "unbounded")
    members = xsd(xsd(data, "complexType", name="DeletedItem"), "sequence")
    for name, length in DELETED_ITEM_FIELDS.items():
        optional(members, name, f"{QUERY}:string{length}" if length else "xsd:string")
    for length in (30, 255):
        restriction = xsd(xsd(data, "simpleType", name=f"string{length}"), "restriction", base="xsd:string")
        xsd(restriction, "maxLength", value=str(length))
    service = add_schema(types, DELETED_ITEM_NAMESPACE, DELETED_ITEM_DATA_NAMESPACE)
    request = element_of(service, "DeletedItemWS_DeletedItemQueryPage_Input")
    xsd(request, "element", name="PageSize", type="xsd:string", minOccurs="0")
    xsd(request, "element", ref=f"{QUERY}:ListOfDeletedItem")
    xsd(request, "element", name="StartRowNum", type="xsd:string", minOccurs="0")
    answer = element_of(service, "DeletedItemWS_DeletedItemQueryPage_Output")
    xsd(answer, "element", name="LastPage", type="xsd:string")
    xsd(answer, "element", ref=f"{QUERY}:ListOfDeletedItem")
    messages = {"DeletedItemQueryPage": "DeletedItemWS_DeletedItemQueryPage"}
    bind(definitions, "DeletedItem", "Default_Binding_deleteditem", ("Default_Binding", "Default"), messages)
    return definitions


def time_wsdl() -> etree._Element:
    """The service that tells the server's time."""
    definitions = new_definitions(TIME_NAMESPACE)
    schema = add_schema(types_of(definitions), TIME_NAMESPACE)
    element_of(schema, "TimeWS_GetServerTime_Input")
    answer = element_of(schema, "TimeWS_GetServerTime_Output")
    for name in ("CurrentServerTime", "TimeZone"):
        xsd(answer, "element", name=name, type="xsd:string")
    messages = {"GetServerTime": "TimeWS_GetServerTime"}
    bind(definitions, "Time", "Default_Binding_Time", ("Default_Binding", "Default"), messages)
    return definitions


def tracking_wsdl() -> etree._Element:
    """The administrative service that says which objects write events."""
    definitions = new_definitions(TRACKING_NAMESPACE, TRACKING_DATA_NAMESPACE)
    types = types_of(definitions)
    data = add_schema(types, TRACKING_DATA_NAMESPACE)
    xsd(data, "element", name=f"ListOf{TRACKING_SERVICE}", type=f"{QUERY}:ListOf{TRACKING_SERVICE}Data")
    rows = xsd(xsd(data, "complexType", name=f"ListOf{TRACKING_SERVICE}Data"), "sequence")
    optional(rows, TRACKING_SERVICE, f"{QUERY}:{TRACKING_SERVICE}Data", "unbounded")
    members = xsd(xsd(data, "complexType", name=f"{TRACKING_SERVICE}Data"), "all")
    xsd(members, "element", name="Object", type="xsd:string")
    xsd(members, "element", name="Enabled", type="xsd:boolean")
    service = add_schema(types, TRACKING_NAMESPACE, TRACKING_DATA_NAMESPACE)
    operation = f"{TRACKING_SERVICE}ReadAll"
    element_of(service, f"{operation}_Input")
    answer = element_of(service, f"{operation}_Output")
    xsd(answer, "element", ref=f"{QUERY}:ListOf{TRACKING_SERVICE}")
    names = (f"{TRACKING_SERVICE}Service", f"{TRACKING_SERVICE}Service")
    bind(definitions, names[0], names[0], names, {operation: operation}, _TRACKING_ADDRESS)
    return definitions
