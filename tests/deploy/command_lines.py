"""Runs command lines of installed programs in forks of one process, which imports each program only once.

``python -m tests.deploy.command_lines MODULE...`` reads a JSON list of command lines and writes, for each, its exit
code and output. Modules that several of them need can be named to be imported before.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any


def main() -> None:
    for module in sys.argv[1:]:
        importlib.import_module(module)
    json.dump([outcome(command) for command in json.load(sys.stdin)], sys.stdout)


def outcome(command: list[str]) -> tuple[int, str]:
    """As of the program in a process of its own."""
    (script,) = entry_points(group="console_scripts", name=command[0])
    program = script.load()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            os._exit(exit_code(program, command))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode()


def exit_code(program: Callable[[], Any], command: list[str]) -> int:
    """Of the program's function, which an installed script calls in the same way."""
    sys.argv = command
    try:
        sys.exit(program())
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
