"""Small plots for the Dagster UI: SVG as a data URI in Markdown, which is what the UI shows of images.

The UI shows Markdown of less than 1,000 characters in its place, and hides more behind a link: so the drawing is terse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import dagster as dg

INLINE_CHARACTERS = 999
WIDTH, HEIGHT, FLOOR = 300, 80, 66
"""Pixels; below the floor stands the legend."""
COLORS = ("#2a6", "#48d", "#d54")
INK = "#888"
"""A grey that can be read on Dagster's light and dark pages."""


def bars(series: Mapping[str, Sequence[int]]) -> dg.MarkdownMetadataValue:
    """Groups of bars, oldest first, one bar for each series, on a logarithmic scale: a first load dwarfs all else.

    ``series``: one to three names, each with the same number of counts. Stays inline up to 30 bars.
    """
    return dg.MetadataValue.md(f"![{', '.join(series)}](data:image/svg+xml,{quote(draw(series), safe=_PLAIN)})")


_PLAIN = "/:='!,;+-."
"""What may stand as it is in an address inside Markdown's parentheses."""


def draw(series: Mapping[str, Sequence[int]]) -> str:
    """The SVG document."""
    top = max((count for counts in series.values() for count in counts), default=0)
    decades = max(1, math.ceil(math.log10(1 + top)))
    groups = max(map(len, series.values()), default=0)
    slot = WIDTH / max(10, groups)
    width = max(2, int(slot * 0.8 / len(series)))
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' font-family='Arial' font-size='10'>"
    ]
    lines = "".join(f"M0,{FLOOR - FLOOR * decade // decades}h{WIDTH}" for decade in range(decades + 1))
    parts.append(f"<path d='{lines}' stroke='{INK}' opacity='.3'/>")
    for place, (name, counts) in enumerate(series.items()):
        path = ""
        for index, count in enumerate(counts):
            if count:
                x = int(slot * (index + 0.5) + width * (place - (len(series) - 1) / 2))
                path += f"M{x},{FLOOR}V{FLOOR - max(1, int(FLOOR * math.log10(1 + count) / decades))}"
        color = COLORS[place]
        parts.append(f"<path d='{path}' stroke='{color}' stroke-width='{width}'/>")
        parts.append(f"<text x='{60 * place}' y='78' fill='{color}'>{name}</text>")
    parts.append(f"<text x='{WIDTH}' y='78' fill='{INK}' text-anchor='end'>max {top}</text>")
    return "".join(parts) + "</svg>"
