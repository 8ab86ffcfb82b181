"""P6 ``ingest``: SOAP pages of 100 rows and 60 fields to typed rows, and reading from a CRM that takes its time."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from lxml import etree

from benchmarks.cost import Cost, compared, cost
from benchmarks.results import Measurement
from benchmarks.serving.processes import free_port
from benchmarks.soap_pages import CRM_FIELDS, account, pages, query_page_operation
from orchestration.catalog import FieldType, load_catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.envelope import parse
from orchestration.crm.queries import LogShape, Query
from orchestration.crm.rows import read_answer
from orchestration.crm.settings import CrmSettings
from orchestration.crm.transport import HttpSession
from orchestration.crm.wsdl import Operation
from orchestration.pipeline.hydrate import PAGES_PER_BATCH

ROWS_A_PAGE = 100
FIELDS = 60
CRM_WIDE = sum(CRM_FIELDS.values())
PAGES = 20
ROUNDS = 7
LATENCIES_MS = (200, 500)
SESSIONS = 4
LATENCY_ROUNDS = 3
QUERIES = 80
IDS_A_QUERY = 50


def ingest() -> list[Measurement]:
    return [*page_to_rows(), *with_latency()]


def page_to_rows() -> list[Measurement]:
    """The same bytes from the same server, page after page; costs are of 20 pages, on the reading side.

    zeep reads them by a WSDL cut down to the fields asked for, as we ship it, and by one as wide as the CRM's own.
    """
    kind = account(FIELDS)
    fields = {field.name: FieldType(field.type) for field in kind.fields[1:]}
    query = Query(LogShape("account", "Account", fields), fields=tuple(fields))
    served = list(pages(kind, PAGES, ROWS_A_PAGE))
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as name, _serving(served) as url:
        narrow, wide = Path(name, "narrow"), Path(name, "wide")
        narrow.mkdir()
        wide.mkdir()
        readers: dict[str, Callable[[str], object]] = {
            "ours": _our_reader(query),
            "httpx + lxml": _plain_reader(query.types),
            f"zeep objects, WSDL of {FIELDS} fields": _zeep_reader(query_page_operation(kind, narrow)),
            f"zeep objects, WSDL of {CRM_WIDE} fields": _zeep_reader(query_page_operation(account(CRM_WIDE), wide)),
        }
        for reader in readers.values():
            for _ in served:
                assert reader(url) == ROWS_A_PAGE
        for _ in range(ROUNDS):
            for reader_name, reader in readers.items():
                read_all = cost(lambda read=reader: [read(url) for _ in served])  # type: ignore[misc]
                costs.setdefault(reader_name, []).append(read_all)
    ours = costs.pop("ours")
    size = sum(map(len, served)) // PAGES
    what = f"{PAGES} pages of {ROWS_A_PAGE} rows, {FIELDS} fields, {size} bytes each"
    return [measurement for name, theirs in costs.items() for measurement in compared(what, ours, name, theirs)]


def with_latency() -> list[Measurement]:
    """Everything, and rows by id, in parallel sessions, against the time that the server's own latency takes.

    The client was in use before: the first request of all, which proves the credentials, goes alone.
    """
    account = load_catalog()["account"]
    found = []
    for latency_ms in LATENCIES_MS:
        with _simulator(latency_ms) as settings, CrmClient(settings) as crm:
            crm.count(Query(account))
            rows, pages, seconds = 0, 0, []
            for _ in range(LATENCY_ROUNDS):
                started = time.perf_counter()
                read = list(crm.read(Query(account), group_pages=PAGES_PER_BATCH))
                seconds.append(time.perf_counter() - started)
                rows, pages = sum(len(page.rows) for page in read), len(read)
            assert rows == QUERIES * IDS_A_QUERY
            what = f"everything: {pages} pages, {latency_ms} ms latency, {SESSIONS} sessions"
            found.append(_against_latency(what, seconds, pages, latency_ms))
            ids = [row.id for page in read for row in page.rows]
            seconds = []
            for _ in range(LATENCY_ROUNDS):
                started = time.perf_counter()
                rows = len(crm.read_ids(account, ids).rows)
                seconds.append(time.perf_counter() - started)
                assert rows == len(ids)
            what = f"{QUERIES} queries of {IDS_A_QUERY} ids, {latency_ms} ms latency, {SESSIONS} sessions"
            found.append(_against_latency(what, seconds, QUERIES, latency_ms))
    return found


def _against_latency(what: str, seconds: list[float], requests: int, latency_ms: int) -> Measurement:
    bound_seconds = requests * latency_ms / 1000 / SESSIONS
    return Measurement(what, "s", seconds, "requests x latency / sessions", [bound_seconds] * len(seconds))


def _our_reader(query: Query) -> Callable[[str], int]:
    sessions: dict[str, HttpSession] = {}

    def read(url: str) -> int:
        session = sessions.setdefault(url, HttpSession(url))
        answer = read_answer(parse(session.post(b"", "").content), query, 0, ROWS_A_PAGE)
        assert not answer.page.quarantined
        return len(answer.page.rows)

    return read


def _plain_reader(types: dict[str, FieldType]) -> Callable[[str], int]:
    """What one would write for one's own, well-behaved server: no check of damage, typed all the same."""
    client = httpx.Client()
    convert: dict[str, Callable[[str], Any]] = {
        name: {
            FieldType.BOOLEAN: lambda text: text == "true",
            FieldType.INT: int,
            FieldType.DATE: date.fromisoformat,
            FieldType.DATE_TIME: datetime.fromisoformat,
        }[kind]
        for name, kind in types.items()
        if kind not in (FieldType.STRING, FieldType.DECIMAL)
    }

    def read(url: str) -> int:
        root = etree.fromstring(client.post(url, content=b"").content)
        rows = []
        for element in root.iter("{urn:/crmondemand/xml/Account/Data}Account"):
            row: dict[str, Any] = {}
            for child in element:
                name = str(child.tag).rpartition("}")[2]
                text = child.text
                row[name] = convert[name](text) if text and name in convert else text
            rows.append(row)
        return len(rows)

    return read


def _zeep_reader(operation: Operation) -> Callable[[str], int]:
    client = httpx.Client()

    def read(url: str) -> int:
        reply = client.post(url, content=b"")
        response = SimpleNamespace(
            status_code=200, content=reply.content, headers={"Content-Type": "text/xml"}, encoding="utf-8"
        )
        result = operation.binding.process_reply(operation.client, operation.zeep_operation, response)
        return len(result.Account)

    return read


@contextmanager
def _serving(served: list[bytes]) -> Iterator[str]:
    """The pages, one after another, by a process of its own, so that only the reading side is measured."""
    receiving, sending = Pipe(duplex=False)
    process = get_context("spawn").Process(target=_serve, args=(served, sending))
    process.start()
    try:
        yield f"http://127.0.0.1:{receiving.recv()}/"
    finally:
        process.terminate()
        process.join()


def _serve(served: list[bytes], port: Connection) -> None:
    """Answer each POST with the next page, for ever; tells the port."""
    coming = itertools.cycle(served)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            page = next(coming)
            self.send_response(200)
            self.send_header("Content-Type", "text/xml; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - named by the base class
            """Nothing: a line a request is work too."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def _simulator(latency_ms: int) -> Iterator[CrmSettings]:
    """A simulator with enough accounts that puts this much before each answer."""
    port = free_port()
    arguments = ["--port", str(port), "--accounts", str(QUERIES * IDS_A_QUERY), "--territories", "10"]
    arguments += ["--latency-ms", str(latency_ms), "--min-interval-ms", "0"]
    with subprocess.Popen([sys.executable, "-m", "crm_simulator", *arguments]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/control/summary")
            yield CrmSettings(f"{url}/Services/Integration", "DEMO/INTEGRATION", "simulator-only", sessions=SESSIONS)
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)
