"""Renew the operator guide's pictures from the tests of the UI: ``python -m tests.ui.screenshots``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from tests.e2e.system import PROJECT
from tests.ui.pages import ARTIFACTS


def main() -> int:
    """Renew the pictures only if all tests pass."""
    tests = subprocess.run([sys.executable, "-m", "pytest", "tests/ui"], cwd=PROJECT, check=False)
    if tests.returncode:
        return tests.returncode
    guide = (PROJECT / "docs/operator-guide.md").read_text(encoding="utf-8")
    for name in re.findall(r"\(images/([\w-]+\.png)\)", guide):
        shutil.copyfile(ARTIFACTS / name, PROJECT / "docs/images" / name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
