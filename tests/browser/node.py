"""The page's own scripts, run in Node without a page."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.system import PROJECT

PAGE = PROJECT / "delta_service/device_page"
NODE = shutil.which("node")

if NODE is None:
    warnings.warn("node is not installed: the device page's scripts are NOT tested", stacklevel=1)
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed: the device page's scripts are NOT tested")


def copied_modules(folder: Path) -> Path:
    """A copy with the package.json that Node needs to load the scripts as modules; browsers do not need it."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def run_node(arguments: list[str], *, text: str, folder: Path) -> Any:
    """What the script printed, as JSON."""
    command = [str(NODE), *arguments]
    ran = subprocess.run(command, input=text, text=True, capture_output=True, cwd=folder, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
