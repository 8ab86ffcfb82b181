"""A small fake of the CRM's web services: WSDLs, envelopes, and a scripted HTTP server."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lxml import etree

from orchestration.catalog import FieldType, Link
from orchestration.crm import CrmSettings, LogShape

LINK = Link(list="ListOfAccount", row="Account", field="AccountId")
CONTACT = LogShape(
    name="contact",
    service="Contact",
    fields={
        "Name": FieldType.STRING,
        "Revenue": FieldType.DECIMAL,
        "Visits": FieldType.INT,
        "Private": FieldType.BOOLEAN,
        "Born": FieldType.DATE,
        "ModifiedDate": FieldType.DATE_TIME,
    },
)
LINKED = LogShape("contact", "Contact", {"Name": FieldType.STRING}, (LINK,))


def v2_wsdl(service: str, fields: dict[str, str], children: dict[str, tuple[str, list[str]]], suffix: str = "") -> str:
    tns = f"urn:crmondemand/ws/ecbs/{service.lower()}/{suffix}"

    def rows(kind: str, leaf: Callable[[str], str], list_attributes: str, row_attributes: str) -> str:
        def types(name: str, names: list[str], lists: dict[str, tuple[str, list[str]]]) -> str:
            body = "".join(f'<xsd:element name="{n}" minOccurs="0" type="{leaf(n)}"/>' for n in names)
            body += "".join(f'<xsd:element name="{c}" minOccurs="0" type="x:{c}{kind}"/>' for c in lists)
            many = "1" if kind == "Query" else "unbounded"
            return (
                f'<xsd:complexType name="ListOf{name}{kind}"><xsd:sequence><xsd:element name="{name}" '
                f'minOccurs="0" maxOccurs="{many}" type="x:{name}{kind}"/></xsd:sequence>{list_attributes}'
                f'</xsd:complexType><xsd:complexType name="{name}{kind}"><xsd:all>{body}</xsd:all>{row_attributes}'
                "</xsd:complexType>"
            )

        ns = f"urn:/crmondemand/xml/{service}/{kind}"
        query_type = (
            '<xsd:complexType name="queryType"><xsd:simpleContent><xsd:extension base="xsd:string">'
            '<xsd:attribute name="sortorder" type="xsd:string"/><xsd:attribute name="sortsequence" type="xsd:string"/>'
            "</xsd:extension></xsd:simpleContent></xsd:complexType>"
        )
        body = types(service, list(fields), children)
        body += "".join(types(row, names, {}) for row, names in children.values())
        return (
            f'<xsd:schema targetNamespace="{ns}" xmlns:x="{ns}" elementFormDefault="qualified" '
            f'attributeFormDefault="unqualified"><xsd:element name="ListOf{service}" type="x:ListOf{service}{kind}"/>'
            f"{query_type if kind == 'Query' else ''}{body}</xsd:schema>"
        )

    query = rows(
        "Query",
        lambda _: "x:queryType",
        '<xsd:attribute name="pagesize" type="xsd:integer"/><xsd:attribute name="startrownum" type="xsd:integer"/>'
        '<xsd:attribute name="recordcountneeded" type="xsd:boolean"/>',
        '<xsd:attribute name="searchspec" type="xsd:string"/>',
    )
    data = rows(
        "Data",
        lambda name: f"xsd:{fields.get(name, 'string')}",
        '<xsd:attribute name="lastpage" type="xsd:boolean"/><xsd:attribute name="recordcount" type="xsd:integer"/>',
        '<xsd:attribute name="operation" type="xsd:string"/>',
    )
    op = f"{service}QueryPage"
    return f"""<?xml version="1.0"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:tns="{tns}" targetNamespace="{tns}"
 xmlns:q="urn:/crmondemand/xml/{service}/Query" xmlns:d="urn:/crmondemand/xml/{service}/Data">
<wsdl:types>{query}{data}
<xsd:schema targetNamespace="{tns}" elementFormDefault="qualified">
<xsd:import namespace="urn:/crmondemand/xml/{service}/Query"/>
<xsd:import namespace="urn:/crmondemand/xml/{service}/Data"/>
<xsd:element name="{op}_Input"><xsd:complexType><xsd:sequence><xsd:element ref="q:ListOf{service}"/>
<xsd:element name="LOVLanguageMode" type="xsd:string" minOccurs="0"/>
<xsd:element name="ViewMode" type="xsd:string" minOccurs="0"/></xsd:sequence></xsd:complexType></xsd:element>
<xsd:element name="{op}_Output"><xsd:complexType><xsd:sequence><xsd:element ref="d:ListOf{service}"/></xsd:sequence>
</xsd:complexType></xsd:element></xsd:schema></wsdl:types>{_bound(service, op, f"{op}_Input", f"{op}_Output", tns)}"""


def v1_wsdl(namespace: str, operation: str, prefix: str, inner: str, input_: str, output: str) -> str:
    tns = f"urn:crmondemand/ws/{namespace}/"
    return f"""<?xml version="1.0"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:tns="{tns}" targetNamespace="{tns}" xmlns:x="urn:/x/{namespace}">
<wsdl:types><xsd:schema targetNamespace="urn:/x/{namespace}" elementFormDefault="qualified">{inner}</xsd:schema>
<xsd:schema targetNamespace="{tns}" elementFormDefault="qualified"><xsd:import namespace="urn:/x/{namespace}"/>
<xsd:element name="{prefix}_{operation}_Input"><xsd:complexType><xsd:sequence>{input_}</xsd:sequence></xsd:complexType>
</xsd:element><xsd:element name="{prefix}_{operation}_Output"><xsd:complexType><xsd:sequence>{output}</xsd:sequence>
</xsd:complexType></xsd:element></xsd:schema></wsdl:types>
{_bound("Default", operation, f"{prefix}_{operation}_Input", f"{prefix}_{operation}_Output", tns)}"""


def _bound(service: str, op: str, input_: str, output: str, tns: str) -> str:
    return f"""
<wsdl:message name="{input_}"><wsdl:part name="{input_}" element="tns:{input_}"/></wsdl:message>
<wsdl:message name="{output}"><wsdl:part name="{output}" element="tns:{output}"/></wsdl:message>
<wsdl:portType name="{service}"><wsdl:operation name="{op}"><wsdl:input message="tns:{input_}"/>
<wsdl:output message="tns:{output}"/></wsdl:operation></wsdl:portType>
<wsdl:binding name="{service}" type="tns:{service}"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<wsdl:operation name="{op}"><soap:operation soapAction="document/{tns}:{op}"/>
<wsdl:input><soap:body use="literal"/></wsdl:input>
<wsdl:output><soap:body use="literal"/></wsdl:output></wsdl:operation>
</wsdl:binding><wsdl:service name="{service}"><wsdl:port binding="tns:{service}" name="{service}">
<soap:address location="https://crm.invalid/Services/Integration"/></wsdl:port></wsdl:service></wsdl:definitions>"""


def write_wsdls(directory: Path) -> None:
    fields = {"Id": "string", "Name": "string", "Revenue": "decimal", "Visits": "int", "Private": "boolean"}
    fields |= {"Born": "date", "ModifiedDate": "dateTime"}
    children = {"ListOfAccount": ("Account", ["AccountId"])}
    (directory / "anything.wsdl").write_text(v2_wsdl("Contact", fields, children))
    text = '<xsd:element name="{}" type="xsd:string" minOccurs="0"/>'.format
    time_output = text("CurrentServerTime") + text("TimeZone")
    (directory / "Time.wsdl").write_text(v1_wsdl("time", "GetServerTime", "TimeWS", "", "", time_output))
    row = "".join(text(n) for n in ("DeletedItemId", "DeletedDate", "Name", "ObjectId", "Type"))
    inner = (
        '<xsd:element name="ListOfDeletedItem"><xsd:complexType><xsd:sequence><xsd:element name="DeletedItem" '
        f'minOccurs="0" maxOccurs="unbounded"><xsd:complexType><xsd:sequence>{row}</xsd:sequence></xsd:complexType>'
        "</xsd:element></xsd:sequence></xsd:complexType></xsd:element>"
    )
    items = '<xsd:element ref="x:ListOfDeletedItem"/>'
    (directory / "DeletedItem.wsdl.xml").write_text(
        v1_wsdl(
            "deleteditem",
            "DeletedItemQueryPage",
            "DeletedItemWS",
            inner,
            text("PageSize") + text("StartRowNum") + items,
            text("LastPage") + items,
        )
    )


def envelope(inner: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope '
        f'xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body>{inner}</SOAP-ENV:Body>'
        "</SOAP-ENV:Envelope>"
    ).encode()


def page(*rows: str, last: bool = True, attributes: str = "") -> bytes:
    flag = f'lastpage="{str(last).lower()}"'
    return envelope(
        '<ns:ContactQueryPage_Output xmlns:ns="urn:crmondemand/ws/ecbs/contact/"><ListOfContact '
        f'xmlns="urn:/crmondemand/xml/Contact/Data" {flag} {attributes}>{"".join(rows)}</ListOfContact>'
        "</ns:ContactQueryPage_Output>"
    )


def row(row_id: str, inner: str = "") -> str:
    return f"<Contact><Id>{row_id}</Id>{inner}</Contact>"


def front_fault(code: str, text: str = "Please try again.", wait: int | None = None) -> bytes:
    """Shape A: the front end's."""
    told = f"<RequestWait>{wait}</RequestWait>" if wait is not None else ""
    return envelope(
        f"<SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode><faultstring>{text}</faultstring><detail>"
        f"<ErrorCode>{code}</ErrorCode><ErrorMessage>{text}</ErrorMessage>{told}</detail></SOAP-ENV:Fault>"
    )


def manager_fault(*codes: str, text: str = "Method returned an error", fault_code: str = "SOAP-ENV:Server") -> bytes:
    """Shape B: the object manager's; its error stack holds the first code only."""
    nested = "".join(f"({code})" for code in codes)
    stack = f"<f:error><f:errorcode>({codes[0]})</f:errorcode></f:error>" if codes else ""
    return envelope(
        f"<SOAP-ENV:Fault><faultcode>{fault_code}</faultcode><faultstring>{text} {nested}</faultstring><detail>"
        f'<f:siebdetail xmlns:f="http://www.siebel.com/ws/fault"><f:errorstack>{stack}</f:errorstack></f:siebdetail>'
        "</detail></SOAP-ENV:Fault>"
    )


@dataclass
class Asked:
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def root(self) -> etree._Element:
        return etree.fromstring(self.body)

    def rows(self, service: str = "Contact") -> etree._Element:
        return next(self.root.iter(f"{{*}}ListOf{service}"))

    @property
    def start(self) -> int:
        return int(self.rows().get("startrownum", ""))

    @property
    def page_size(self) -> int:
        return int(self.rows().get("pagesize", ""))

    @property
    def searchspec(self) -> str:
        return self.rows()[0].get("searchspec", "")

    @property
    def ids(self) -> list[str]:
        return re.findall(r"\[Id\] = '([^']*)'", self.searchspec)


@dataclass
class Said:
    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/xml; charset=utf-8"})
    drop: bool = False


Answerer = Callable[[Asked], "bytes | Said"]


class FakeCrm:
    """Answers from its script, then by ``answer``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script: deque[bytes | Said] = deque()
        self.asked: list[Asked] = []
        self.answer: Answerer = lambda _: page()
        self.date: str | None = None

    def say(self, *answers: bytes | Said) -> None:
        self.script.extend(answers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    crm: FakeCrm

    def handle_error(self, *_: object) -> None:
        """Clients may disconnect; that is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024  # headers and body in one packet
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        crm = self.server.crm
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, dict(self.headers), body)
        crm.asked.append(asked)
        said = crm.script.popleft() if crm.script else crm.answer(asked)
        if isinstance(said, bytes):
            said = Said(said)
        if said.drop:
            self.close_connection = True
            return
        self.send_response_only(said.status)
        if "Date" not in said.headers:
            self.send_header("Date", crm.date or self.date_time_string())
        for name, value in said.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in said.headers:
            self.send_header("Content-Length", str(len(said.content)))
        else:
            self.close_connection = True
        self.end_headers()
        self.wfile.write(said.content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakeCrm]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.crm = FakeCrm(f"http://127.0.0.1:{server.server_address[1]}/Services/Integration")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.crm
    finally:
        server.shutdown()
        server.server_close()


def settings(crm: FakeCrm, wsdls: Path, **changes: Any) -> CrmSettings:
    values: dict[str, Any] = {"url": crm.url, "username": "ACME/reader", "password": "s3cret'<&", "wsdl_dir": wsdls}
    return CrmSettings(**(values | changes))
