"""Run the simulator, or write its WSDL files: see ``python -m crm_simulator --help``."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from crm_simulator.app import ENDPOINT, ServerOptions, build_app
from crm_simulator.book_generator import generate_books
from crm_simulator.crm import DEFAULT_TRACKED, Crm
from crm_simulator.generator import DENSE, SPARSE, generate
from crm_simulator.schema import RECORD_TYPES
from crm_simulator.soap import Credentials
from crm_simulator.wsdl import write_all

STOP_SECONDS = 5
BACKLOG_CONNECTIONS = 1_024


def main() -> None:
    arguments = _parse(sys.argv[1:])
    if arguments.command == "wsdl":
        write_all(arguments.out, arguments.custom_tags)
        return
    # Before the data is made, which takes a while.
    listener = _listen(arguments.host, arguments.port)
    crm = Crm(DEFAULT_TRACKED | frozenset(arguments.track))
    # The data set has no cycles and stays for good: collections would only walk all of it, again and again.
    gc.disable()
    generate(crm, arguments.accounts, arguments.territories, arguments.seed, SPARSE if arguments.sparse else DENSE)
    if arguments.books:
        generate_books(crm, arguments.books, arguments.seed)
    gc.freeze()
    gc.enable()
    options = ServerOptions(
        credentials=Credentials(
            os.environ.get("CRMOD_USERNAME") or ServerOptions.credentials.username,
            os.environ.get("CRMOD_PASSWORD") or ServerOptions.credentials.password,
        ),
        min_interval_ms=arguments.min_interval_ms,
        latency_ms=arguments.latency_ms,
        fault_status=arguments.fault_status,
    )
    config = uvicorn.Config(
        build_app(crm, options),
        host=arguments.host,
        port=arguments.port,
        lifespan="off",
        ws="none",
        date_header=False,  # the CRM's own clock says the date
        log_level="critical",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    # The server ends in good order, and raises the signal again.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    _Server(config).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG_CONNECTIONS
        )
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from error


class _Server(uvicorn.Server):
    """One line on standard output says when it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = f"http://{self.config.host}:{self.config.port}"
        sys.stdout.write(f"CRM simulator: SOAP endpoint {address}{ENDPOINT} - control page {address}/control\n")
        sys.stdout.flush()


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crm_simulator", description="A simulated CRM On Demand.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--accounts", type=_count, default=500)
    parser.add_argument("--sparse", action="store_true", help="fewer other rows an account: for very large sets")
    parser.add_argument("--territories", type=_count, default=20)
    parser.add_argument("--books", type=_count, help="books of business to put the accounts in; none by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--min-interval-ms", type=int, default=50, help="between two requests of a session")
    parser.add_argument("--latency-ms", type=int, default=0, help="added to each answer")
    parser.add_argument("--fault-status", type=int, choices=(200, 500), default=500, help="HTTP status of SOAP faults")
    parser.add_argument("--track", type=_objects, default=(), help="more objects to write events for: Order,Territory")
    commands = parser.add_subparsers(dest="command")
    wsdl = commands.add_parser("wsdl", help="write the WSDL files")
    wsdl.add_argument("--out", type=Path, required=True)
    wsdl.add_argument("--custom-tags", action="store_true", help="with a company's own names of custom fields")
    return parser.parse_args(words)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _objects(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    for name in names:
        if name not in RECORD_TYPES:
            raise argparse.ArgumentTypeError(f"there is no object {name}; there are {', '.join(RECORD_TYPES)}")
    return names


if __name__ == "__main__":
    main()
