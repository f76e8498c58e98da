"""The curve of validation accuracies in a run's own row, small enough to be read with every page of the table.

Each point is a little-endian uint16: 0 to 65,534 are accuracies from 0 to 1, 65,535 is one that was not finite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POINTS = 40
_POINT = np.dtype("<u2")
_MOST, _NONE = 65534, 65535


def every(epochs: int) -> int:
    """Of a run of so many epochs, one in how many is kept: `POINTS` at most, the newest beside them."""
    return max(1, -(-epochs // POINTS))


def thinned(accuracies: Sequence[float | None]) -> list[float | None]:
    """Of all accuracies of a run, from its first epoch on, those that are kept."""
    step = every(len(accuracies))
    kept = list(accuracies[step - 1 :: step])
    return [*kept, accuracies[-1]] if len(accuracies) % step else kept


def pack(accuracies: Sequence[float | None]) -> bytes | None:
    """Thinned accuracies, oldest first; None where there are none."""
    if not accuracies:
        return None
    values = np.array([np.nan if value is None else value for value in accuracies], np.float64)
    finite = np.isfinite(values)
    whole = np.round(np.clip(np.where(finite, values, 0), 0, 1) * _MOST)
    return np.where(finite, whole, _NONE).astype(_POINT).tobytes()


def unpack(packed: bytes | None) -> list[float | None]:
    """Accuracies in [0, 1], oldest first; None where one was not finite."""
    return [None if value == _NONE else value / _MOST for value in np.frombuffer(packed or b"", _POINT).tolist()]


WIDTH, HEIGHT = 72, 20
"""Of a drawn curve, in units of its `viewBox`."""


def points(packed: bytes | None) -> str:
    """The curve as the points of an SVG polyline, from its own lowest value to its highest; "" for under two."""
    values = [(place, value) for place, value in enumerate(unpack(packed)) if value is not None]
    if len(values) < 2:
        return ""
    low, high = min(value for _, value in values), max(value for _, value in values)
    across, up = WIDTH / values[-1][0], (HEIGHT - 4) / ((high - low) or 1)
    return " ".join(f"{place * across:.0f},{HEIGHT - 2 - (value - low) * up:.0f}" for place, value in values)
