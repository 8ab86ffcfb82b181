"""Ports for servers that tests start as processes."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

FIRST, END = 10_000, 32_000
"""Below what the kernel gives to outgoing connections, so that none of those can take a port before its server does."""
PER_WORKER = 1_000

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_begin = FIRST + (_worker * PER_WORKER + random.SystemRandom().randrange(END - FIRST)) % (END - FIRST)
_candidates: Iterator[int] = itertools.cycle([*range(_begin, END), *range(FIRST, _begin)])


def free_port() -> int:
    """One that nobody has now, and that this process has not given out lately."""
    for port in _candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("the candidates have no end")
