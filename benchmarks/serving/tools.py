"""What only these benchmarks need, installed on demand: Debian packages, and Python packages outside of the lock."""

from __future__ import annotations

import shutil
import subprocess
import venv
from pathlib import Path

from benchmarks.data import CACHE

DEBIAN_PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "initdb": "postgresql"}
POSTGRESQL = Path("/usr/lib/postgresql")
REFERENCE_PACKAGES = ("fastapi", "uvicorn[standard]", "asyncpg", "orjson", "pyjwt")


def command(name: str) -> str:
    """Path of a program; its Debian package is installed if need be (which takes root)."""
    found = _find(name)
    if found is None:
        subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", DEBIAN_PACKAGES[name]], check=True)
        found = _find(name)
        assert found is not None
    return found


def reference_python() -> Path:
    """The interpreter of an environment with the reference's packages."""
    folder = CACHE / "reference-venv"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REFERENCE_PACKAGES], check=True)
        (folder / "complete").touch()
    return python


def _find(name: str) -> str | None:
    places = [str(folder / "bin") for folder in sorted(POSTGRESQL.glob("*"), reverse=True)]
    return shutil.which(name) or shutil.which(name, path=":".join(["/usr/sbin", *places]))
