"""Curves as static SVG, for a report that is printed or saved: no script, a name on every curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from markupsafe import Markup

from app import pages
from app.comparing import thinning
from app.comparing.thinning import Floats

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 8, 36
FINE = 10
"""Units of a pixel: whole numbers are shorter than fractions, and a report may have a hundred curves."""
COLUMNS = 200
"""Columns whose extremes a curve keeps."""
DAY = 86400.0
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY)


@dataclass(frozen=True, slots=True)
class Line:
    """`look` names its colour and pattern, as the page's style sheet knows them."""

    label: str
    look: str
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    """Of a group: the edges of its band."""
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """`kind`: number, count (whole), percent, loss, duration or instant (seconds since 1970, shown in UTC)."""

    label: str
    kind: str
    log: bool = False
    clip: bool = False
    """Whether the highest and the lowest hundredth of the values may lie outside."""


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, values: Floats) -> Floats:
        known = np.asarray(values, np.float64)
        placed = np.log10(np.where(known > 0, known, np.nan)) if self.log else known
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        found: Floats = self.start + (placed - low) * ((self.end - self.start) / (high - low or 1.0))
        return found


def chart(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> Markup:
    """A chart of `WIDTH` x `HEIGHT` pixels that grows with its place."""
    across = _across(lines)
    up = _up(lines, y)
    parts = [*_grid(across, up, x, y), *(_band(line, across, up) for line in lines if line.low is not None)]
    parts += [_curve(line, across, up) for line in lines]
    return Markup('<svg class="curves" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )


def _across(lines: Sequence[Line]) -> _Scale:
    ends = [end for line in lines if len(line.x) for end in (line.x[0], line.x[-1])]
    low, high = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return _Scale(low, high, LEFT, WIDTH - RIGHT)


def _up(lines: Sequence[Line], axis: Axis) -> _Scale:
    edges = [side for line in lines for side in (line.y, line.low, line.high) if side is not None]
    values = np.concatenate(edges) if edges else np.empty(0)
    values = values[np.isfinite(values) & ((values > 0) | (not axis.log))]
    shares = (0.01, 0.99) if axis.clip else (0.0, 1.0)
    low, high = (float(end) for end in np.quantile(values, shares)) if len(values) else (0.1, 1.0)
    if axis.log:
        room = (high / low) ** 0.04 if high > low else 1.1
        return _Scale(low / room, high * room, HEIGHT - BOTTOM, TOP, log=True)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return _Scale(low - room, high + room, HEIGHT - BOTTOM, TOP)


def _curve(line: Line, across: _Scale, up: _Scale) -> Markup:
    places = thinning.kept(line.x, line.y, across.low, across.high, COLUMNS)
    path = _path(across.at(line.x[places]), _within(up.at(line.y[places])))
    faint = " faint" if line.faint else ""
    return Markup('<path class="{}{}" transform="scale({})" d="{}"><title>{}</title></path>').format(
        line.look, faint, 1 / FINE, path, line.label
    )


def _band(line: Line, across: _Scale, up: _Scale) -> Markup:
    assert line.low is not None and line.high is not None  # noqa: S101, PT018
    known = np.isfinite(line.low)
    x, low, high = line.x[known], line.low[known], line.high[known]
    path = _path(across.at(np.concatenate([x, x[::-1]])), _within(up.at(np.concatenate([high, low[::-1]]))))
    return Markup('<path class="band {}" transform="scale({})" d="{}"/>').format(line.look, 1 / FINE, path)


def _within(y: Floats) -> Floats:
    """What lies outside of the scale runs out of the picture above, and along the axis below."""
    inside: Floats = np.clip(y, -2 * TOP, HEIGHT - BOTTOM)
    return inside


def _path(x: Floats, y: Floats) -> str:
    """Moves from point to point in whole units, lifted where a value is missing."""
    parts: list[str] = []
    at = (0, 0)
    down = False
    for left, top in zip(x.tolist(), y.tolist(), strict=True):
        if not math.isfinite(top):
            down = False
            continue
        to = (round(left * FINE), round(top * FINE))
        parts.append(f"l{to[0] - at[0]} {to[1] - at[1]}" if down else f"M{to[0]} {to[1]}h1")
        at = to if down else (to[0] + 1, to[1])
        down = True
    return "".join(parts)


def _grid(across: _Scale, up: _Scale, x: Axis, y: Axis) -> list[Markup]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, text in _ticks(up, y, 7):
        at = round(float(up.at(np.array(value))), 1)
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, at, right))
        parts.append(Markup('<text x="{}" y="{}" text-anchor="end" dy="4">{}</text>').format(LEFT - 6, at, text))
    for value, text in _ticks(across, x, 7):
        at = round(float(across.at(np.array(value))), 1)
        parts.append(Markup('<path class="grid" d="M{} {}V{}"/>').format(at, TOP, bottom))
        parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(at, bottom + 14, text))
    middle = (LEFT + right) / 2
    parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, bottom + 30, x.label))
    return parts


def _ticks(scale: _Scale, axis: Axis, wanted: int) -> list[tuple[float, str]]:
    """Round values within the scale, with how they are written."""
    if scale.log and scale.high / scale.low > 10:
        powers = range(math.ceil(math.log10(scale.low)), math.floor(math.log10(scale.high)) + 1)
        return [(10.0**power, _written(axis, 10.0**power, 10.0**power)) for power in powers]
    least = (scale.high - scale.low) / wanted
    step = _step(max(1.0, least) if axis.kind == "count" else least, time=axis.kind in ("duration", "instant"))
    first = math.ceil(scale.low / step - 1e-9)
    values = [n * step for n in range(first, math.floor(scale.high / step + 1e-9) + 1)]
    return [(value, _written(axis, value, step)) for value in values]


def _step(least: float, *, time: bool) -> float:
    """The smallest round step that is not below `least`."""
    if time and least >= 1:
        return next((step for step in _SECONDS if step >= least), math.ceil(least / (7 * DAY)) * 7 * DAY)
    power = 10.0 ** math.floor(math.log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * (1 - 1e-9))


def _written(axis: Axis, value: float, step: float) -> str:
    decimals = max(0, math.ceil(-math.log10(step) - 1e-9))
    words: dict[str, Callable[[], str]] = {
        "percent": lambda: f"{value * 100:.{max(0, decimals - 2)}f} %",
        "duration": lambda: pages.duration(value),
        "instant": lambda: _instant(value, step),
    }
    if axis.kind in words:
        return words[axis.kind]()
    return f"{value:,.{min(decimals, 8)}f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}"


def _instant(value: float, step: float) -> str:
    return datetime.fromtimestamp(value, UTC).strftime("%d %b" if step >= DAY else "%H:%M")
