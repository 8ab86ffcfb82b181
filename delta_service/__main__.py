"""``python -m delta_service``: serve; ``python -m delta_service token``: mint a development token."""

from __future__ import annotations

import argparse
import ipaddress
import os
import resource
import secrets
import sys
import tempfile

from delta_service.auth import mint
from delta_service.server import serve
from delta_service.settings import INSECURE_DEV_VARIABLE, ServiceSettings, SettingsError


def main(arguments: list[str]) -> int:
    options = argument_parser().parse_args(arguments)
    try:
        return _mint(options) if options.command == "token" else _serve(options)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def argument_parser() -> argparse.ArgumentParser:
    """The command line as deployments write it."""
    parser = argparse.ArgumentParser(prog="python -m delta_service", description="Serves deltas of territories.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to bind (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument(
        "--insecure-dev", action="store_true", help="serve everything to callers on this machine that bring no token"
    )
    token = parser.add_subparsers(dest="command").add_parser("token", help="mint a development token")
    token.add_argument("--territory", action="append", default=[], help="id or name; may be repeated")
    token.add_argument("--days", type=int, default=30, help="how long it is valid (default: %(default)s)")
    token.add_argument("--subject", help="who holds it; limits are for each subject (default: a random one)")
    token.add_argument("--admin", action="store_true", help="allow the operators' routes")
    return parser


def _mint(options: argparse.Namespace) -> int:
    settings = ServiceSettings.from_environment()
    if settings.jwt_secret is None:
        raise SettingsError("DELTA_JWT_SECRET is needed to mint a token")
    token = mint(
        settings.jwt_secret,
        settings.jwt_audience,
        options.territory,
        days=options.days,
        admin=options.admin,
        subject=options.subject or secrets.token_hex(8),
    )
    sys.stdout.write(token + "\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    if options.insecure_dev:
        os.environ[INSECURE_DEV_VARIABLE] = "1"
    settings = ServiceSettings.from_environment()
    if settings.insecure_dev and not _is_loopback(options.host):
        raise SettingsError("--insecure-dev serves this machine only: bind to 127.0.0.1 or ::1")
    if options.workers > 1:
        # Workers write their numbers there, so that any of them can report the sum.
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="delta-metrics-"))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    serve(options.host, options.port, options.workers)
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
