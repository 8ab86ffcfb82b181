"""An in-process CRM of 60 accounts, a client for its SOAP and control interfaces, and its clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import quoteattr

import httpx
import pytest
from lxml import etree
from starlette.testclient import TestClient

from crm_simulator.app import ServerOptions, build_app
from crm_simulator.book_generator import generate_books
from crm_simulator.crm import Clock, Crm
from crm_simulator.generator import generate

ENDPOINT = "/Services/Integration"
Record = dict[str, Any]
"""A row with its fields and child lists, as the control interface tells it."""
START = 1_780_000_000.0  # seconds since 1970
TOKEN = (
    '<wsse:Security xmlns:wsse="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd">'
    "<wsse:UsernameToken><wsse:Username>DEMO/INTEGRATION</wsse:Username><wsse:Password>{password}</wsse:Password>"
    "</wsse:UsernameToken></wsse:Security>"
)


@dataclass
class Answer:
    """A parsed SOAP answer."""

    response: httpx.Response
    root: etree._Element = field(init=False)

    def __post_init__(self) -> None:
        self.root = etree.fromstring(self.response.content)

    @property
    def rows_element(self) -> etree._Element:
        return self.root[0][0][0]

    @property
    def rows(self) -> list[dict[str, str | None]]:
        """Each row's fields; an empty element is an empty text."""
        return [{etree.QName(cell).localname: cell.text or "" for cell in row} for row in self.rows_element]

    @property
    def ids(self) -> list[str]:
        return [row["Id"] or "" for row in self.rows]

    @property
    def fault(self) -> str:
        """The whole text of the fault."""
        found = self.root.find(".//{*}Fault")
        assert found is not None, self.response.text
        return " ".join(str(text) for text in found.itertext())


@dataclass
class Simulator:
    """Talks to one simulated CRM."""

    crm: Crm
    http: TestClient

    def send(self, body: str, action: str | None = None, header: str | None = None, **headers: str) -> httpx.Response:
        """Post an envelope with this body, and with the right token in its header unless another is given."""
        header = TOKEN.format(password="simulator-only") if header is None else header
        envelope = (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
            f"<s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        if action:
            headers["SOAPAction"] = f'"{action}"'
        all_headers = {"Content-Type": "text/xml", **headers}
        response: httpx.Response = self.http.post(ENDPOINT, content=envelope.encode(), headers=all_headers)
        return response

    def query(self, name: str, fields: str = "<Id/>", spec: str = "", **attributes: object) -> Answer:
        """A QueryPage with the paging attributes given."""
        return Answer(self.send(query_body(name, fields, spec, **attributes)))

    def find_all(self, name: str, fields: str, spec: str = "") -> list[dict[str, str | None]]:
        """All rows, page by page."""
        rows: list[dict[str, str | None]] = []
        while True:
            answer = self.query(name, fields, spec, pagesize=100, startrownum=len(rows))
            rows += answer.rows
            if answer.rows_element.get("lastpage") == "true":
                return rows

    def write(self, name: str, operation: str, row: str) -> Answer:
        listed = f'<ListOf{name} xmlns="urn:/crmondemand/xml/{name}/Data"><{name}>{row}</{name}></ListOf{name}>'
        request = f"{name}{operation}_Input"
        return Answer(self.send(f'<{request} xmlns="urn:crmondemand/ws/ecbs/{name.lower()}/">{listed}</{request}>'))

    def operations_spent(self) -> int:
        return int(self.http.get("/control/summary").json()["operations"])

    def control(self, action: str, status: int = 200, /, **body: object) -> Record:
        response = self.http.post(f"/control/{action}", json=body)
        assert response.status_code == status, response.text
        answer: Record = response.json()
        return answer

    def records(self, name: str, **parameters: str) -> list[Record]:
        records: list[Record] = self.http.get(f"/control/records/{name}", params=parameters).json()
        return records

    def find_record(self, name: str, id_: str) -> Record | None:
        return next(iter(self.records(name, ids=id_)), None)

    def record(self, name: str, id_: str) -> Record:
        found = self.find_record(name, id_)
        assert found is not None, f"there is no {name} {id_}"
        return found

    def events(self) -> list[Record]:
        """The events written since the start, oldest first."""
        log = self.crm.tables["ModificationTracking"]
        return [
            {column.name: log.get(record, column.name) for column in log.kind.stored}
            for record in list(log.records.values())[self.first_event :]
        ]

    def event_list(self) -> list[tuple[str | None, str | None, str | None, str | None]]:
        return [(e["EventName"], e["ObjectName"], e["ObjectId"], e["ChildId"]) for e in self.events()]

    def __post_init__(self) -> None:
        self.first_event = len(self.crm.tables["ModificationTracking"].records)


def query_body(name: str, fields: str = "<Id/>", spec: str = "", **attributes: object) -> str:
    paging = "".join(f' {key}="{value}"' for key, value in attributes.items())
    searchspec = f" searchspec={quoteattr(spec)}" if spec else ""
    return (
        f'<{name}QueryPage_Input xmlns="urn:crmondemand/ws/ecbs/{name.lower()}/">'
        f'<ListOf{name} xmlns="urn:/crmondemand/xml/{name}/Query"{paging}>'
        f"<{name}{searchspec}>{fields}</{name}></ListOf{name}></{name}QueryPage_Input>"
    )


def make_simulator(tracked: frozenset[str] | None = None, books: int = 0, **options: Any) -> Simulator:
    clock = Clock(lambda: START)
    crm = Crm(clock=clock) if tracked is None else Crm(tracked, clock)
    generate(crm, accounts=60, territories=6, seed=7)
    if books:
        generate_books(crm, books, seed=7)
    settings: dict[str, Any] = {"min_interval_ms": 0, **options}
    return Simulator(crm, TestClient(build_app(crm, ServerOptions(**settings))))


@pytest.fixture
def simulator() -> Simulator:
    return make_simulator()
