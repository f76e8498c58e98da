"""A curve of many points as what a chart of some width can show of it, exactly.

Of each column of pixels the first, the least, the greatest and the last point are kept (M4, Jugel et al., "M4: A
Visualization-Oriented Time Series Data Aggregation", PVLDB 7(10), 2014): the lines through them colour the same pixels
as the lines through all points. `static/js/plot/thin.js` does the same in the browser.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Places = np.ndarray[Any, np.dtype[np.intp]]

KEPT = 4
"""Points of a column at most."""


def kept(x: Floats, y: Floats, first: float, last: float, width: int) -> Places:
    """Places of the points to draw of `y` over the ascending `x`, shape [K], K <= 4 * `width` + 2.

    Those from `first` to `last`, and one more at either side, so that the lines leave the chart where they do.
    """
    begin, end = int(np.searchsorted(x, first)), int(np.searchsorted(x, last, side="right"))
    around = [place for place in (begin - 1, end) if 0 <= place < len(x)]
    if end - begin <= KEPT * width:
        inside = np.arange(begin, end)
    else:
        columns = np.minimum((x[begin:end] - first) * (width / (last - first)), width - 1).astype(np.intp)
        inside = begin + _of_columns(columns, y[begin:end])
    return np.union1d(inside, np.array(around, np.intp))


def _of_columns(columns: Places, y: Floats) -> Places:
    """First, least, greatest and last place of each stretch of equal `columns`; what is not finite is no extreme."""
    starts = np.flatnonzero(np.r_[True, columns[1:] != columns[:-1]])
    lengths = np.diff(np.r_[starts, len(columns)])
    extremes = [_where(y, np.repeat(f.reduceat(y, starts), lengths), columns) for f in (np.fmin, np.fmax)]
    return np.unique(np.concatenate([starts, starts + lengths - 1, *extremes]))


def _where(y: Floats, extreme: Floats, columns: Places) -> Places:
    """The first place in each column at which `y` equals that column's extreme."""
    places = np.flatnonzero(y == extreme)
    return places[np.unique(columns[places], return_index=True)[1]]
