"""Rules for the tests themselves: what they may import, and what they may look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = sorted(TESTS.rglob("*.py"))
OWN = {"self", "cls"}
DOCUMENTED = {"_Element", "_asdict", "_exit", "_fields", "_make", "_replace"}
"""Members of libraries (lxml, the standard library) that are public although their names begin like private ones."""


def imported_modules(node: ast.AST) -> Iterator[str]:
    """Each name that could be a module's, in full."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED


def private_names(node: ast.AST) -> Iterator[str]:
    """Private members of anything but the test's own object, and private names of modules."""
    match node:
        case ast.Attribute(value=owner, attr=name) if is_private(name):
            if not (isinstance(owner, ast.Name) and owner.id in OWN):
                yield name
        case ast.ImportFrom(names=aliases):
            yield from (alias.name for alias in aliases if is_private(alias.name))
        case ast.Call(func=ast.Attribute(attr="setattr" | "delattr") | ast.Name(id="getattr" | "setattr")):
            literals = (each.value for each in node.args if isinstance(each, ast.Constant))
            yield from (text for text in literals if isinstance(text, str) and is_private(text))


def nodes(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Each node of a module, with the place to look at."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        yield f"tests/{path.relative_to(TESTS)}:{getattr(node, 'lineno', 0)}", node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_imports_from_a_test_module(path: Path) -> None:
    found = [
        f"{place}: imports {name}. Move what is shared to a module that is not named test_*."
        for place, node in nodes(path)
        for name in imported_modules(node)
        if any(part.startswith("test_") for part in name.split(".")[:-1] or [name])
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_uses_a_private_member_of_the_code_or_of_a_library(path: Path) -> None:
    found = [
        f"{place}: uses {name}. Give the code a small public member, or observe what it does."
        for place, node in nodes(path)
        for name in private_names(node)
    ]
    assert not found, "\n".join(found)
