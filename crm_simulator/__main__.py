"""Run the simulator, or write its WSDL files: see ``python -m crm_simulator --help``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from pathlib import Path

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.applications import Starlette

from crm_simulator.app import ENDPOINT, ServerOptions, build_app
from crm_simulator.book_generator import generate_books
from crm_simulator.crm import DEFAULT_TRACKED, Crm
from crm_simulator.generator import generate
from crm_simulator.schema import RECORD_TYPES
from crm_simulator.soap import Credentials
from crm_simulator.wsdl import write_all


def main() -> None:
    arguments = _parse(sys.argv[1:])
    if arguments.command == "wsdl":
        write_all(arguments.out, arguments.custom_tags)
        return
    _refuse_shared_port(arguments.host, arguments.port)
    crm = Crm(DEFAULT_TRACKED | frozenset(arguments.track))
    # The data set has no cycles and stays for good: collections would only walk all of it, again and again.
    gc.disable()
    generate(crm, arguments.accounts, arguments.territories, arguments.seed)
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
    asyncio.run(_serve(build_app(crm, options), arguments.host, arguments.port))


def _refuse_shared_port(host: str, port: int) -> None:
    """Stop if the port is taken: the server itself would share it, and answer every other request."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from error


async def _serve(app: Starlette, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; one line on standard output says when it listens."""
    server = Server(app, address=host, port=port, interface=Interfaces.ASGINL, log_level=LogLevels.error)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve())
    while not serving.done() and not await _answers(host, port):
        await asyncio.sleep(0.02)
    if not serving.done():
        address = f"http://{host}:{port}"
        sys.stdout.write(f"CRM simulator: SOAP endpoint {address}{ENDPOINT} - control page {address}/control\n")
        sys.stdout.flush()
    await serving


async def _answers(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crm_simulator", description="A simulated CRM On Demand.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--accounts", type=_count, default=500)
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
