"""Uvicorn, set up for this service: one process, or several that share a socket."""

from __future__ import annotations

import signal
import sys

import uvicorn

from delta_service.protocol import DeltaProtocol

STOP_SECONDS = 10
# Longer than devices and proxies are quiet between two polls.
KEEP_ALIVE_SECONDS = 75
BACKLOG_CONNECTIONS = 4_096


def serve(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; settings come from the environment."""
    # The server ends in good order, and raises the signal again.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    uvicorn.run(
        "delta_service.app:create",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http=DeltaProtocol,
        ws="none",
        lifespan="on",
        # The application has its own logging, and knows whom to believe.
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
