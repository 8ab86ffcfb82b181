"""The results of the load model follow from its unit costs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs/scale.md").read_text(encoding="utf-8")
DIGITS = 2
"""Significant digits of the results."""


def cells(start: str) -> list[list[str]]:
    """Rows of the tables whose first header is ``start``."""
    tables = re.findall(rf"^\| {start} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for table in tables for row in table.splitlines()]


def number(text: str) -> float:
    return float(text.replace(",", ""))


UNITS = {unit.strip("`"): number(value) for unit, _, value, _ in cells("unit")}
RESULTS = [(what, formula.strip("`"), written) for what, formula, written in cells("what follows")]


@pytest.mark.parametrize(("what", "formula", "written"), RESULTS, ids=[what for what, _, _ in RESULTS])
def test_each_result_equals_its_formula(what: str, formula: str, written: str) -> None:
    value = eval(formula, {"__builtins__": {}}, UNITS)
    assert f"{number(written):.{DIGITS}g}" == f"{value:.{DIGITS}g}", f"{what}: {value:.{DIGITS}g}"


def test_each_unit_is_used() -> None:
    used = set(re.findall(r"\b[a-z]\w+", " ".join(formula for _, formula, _ in RESULTS)))
    assert used == UNITS.keys()
