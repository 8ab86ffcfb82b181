"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence


def table_lines(header: str, rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table, line by line; numbers stand to the right. ``header`` holds the names, parted by ``|``."""
    columns = header.split("|")
    right = [bool(rows) and all(isinstance(row[place], int) for row in rows) for place in range(len(columns))]
    return [
        f"| {' | '.join(columns)} |",
        f"|{'|'.join('---:' if one else '---' for one in right)}|",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
    ]
