"""Every text colour stands out from every ground that it is used on, in light and in dark (WCAG 2.2 AA)."""

from __future__ import annotations

import re

import pytest

from app.config import ROOT

PAIRS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", (ROOT / "static" / "css" / "tokens.css").read_text()
    )
}
TEXT, GRAPHICS = 4.5, 3.0
GROUNDS = ("canvas", "surface", "surface-raised")
USES = [
    *((text, ground, TEXT) for text in ("text", "text-soft", "link") for ground in GROUNDS),
    *((status, f"{status}-soft", TEXT) for status in ("good", "bad", "busy", "calm", "warn")),
    *(("text", f"{status}-soft", TEXT) for status in ("good", "bad", "busy", "calm", "warn")),
    *((status, "surface", TEXT) for status in ("good", "bad", "warn")),
    ("on-accent", "accent", TEXT),
    ("on-accent", "accent-hover", TEXT),
    *(("focus", ground, GRAPHICS) for ground in GROUNDS),
    ("line-strong", "surface", GRAPHICS),
    *((curve, "surface", GRAPHICS) for curve in ("train", "val", *(f"series-{i}" for i in range(10)))),
]


def luminance(color: str) -> float:
    """Relative luminance as WCAG defines it (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "ground", "least"), USES, ids=[f"{front} on {ground}" for front, ground, _ in USES])
def test_stands_out(front: str, ground: str, least: float, theme: int):
    assert contrast(PAIRS[front][theme], PAIRS[ground][theme]) >= least
