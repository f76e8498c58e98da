"""Rows become Plotly figures. Pure functions; colours and fonts are the page's, which knows light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import plotly.graph_objects as go

from app.models import Epoch

Figure = dict[str, Any]
"""A figure as plain JSON-able values: `data` and `layout`."""

_PHASES = {"train": "Training", "val": "Validation"}


def loss(epochs: Sequence[Epoch], *, total: int) -> Figure:
    """Mean cross-entropy per epoch, training and validation; `total` epochs set the width from the start."""
    return _by_epoch(epochs, "loss", total, hover="%{y:.4f}")


def accuracy(epochs: Sequence[Epoch], *, total: int) -> Figure:
    """Accuracy per epoch in per cent, training and validation."""
    figure = _by_epoch(epochs, "accuracy", total, hover="%{y:.2%}")
    figure["layout"]["yaxis"]["tickformat"] = "~%"  # as many digits as tell the marks apart
    return figure


def _by_epoch(epochs: Sequence[Epoch], measure: str, total: int, *, hover: str) -> Figure:
    x = [row.epoch for row in epochs]
    traces = [
        go.Scatter(
            x=x,
            y=[getattr(row, f"{phase}_{measure}") for row in epochs],
            name=label,
            uid=f"{phase}_{measure}",
            mode="lines+markers" if total <= 60 else "lines",
            connectgaps=False,
            hovertemplate=hover,
        )
        for phase, label in _PHASES.items()
    ]
    figure = go.Figure(traces, _layout("Epoch"))
    # The whole run's width from the first epoch on: the curve grows into it and nothing jumps.
    figure.update_xaxes(range=[0.5, max(total, 2) + 0.5], tick0=0, dtick=_tick(total), tickformat="d")
    return _plain(figure)


def _tick(total: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that leaves at most ten ticks."""
    steps = (size * int(10**power) for power in count() for size in (1, 2, 5))
    return next(step for step in steps if total <= 10 * step)


def _layout(x_title: str) -> go.Layout:
    return go.Layout(
        template="none",
        hovermode="x unified",
        margin={"l": 52, "r": 12, "t": 8, "b": 40},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        xaxis={"title": {"text": x_title, "standoff": 8}},
        # Powers as 8e+15: a raised exponent would be an inline style, which the pages' policy forbids.
        yaxis={"rangemode": "normal", "exponentformat": "e"},
    )


def _plain(figure: go.Figure) -> Figure:
    plain: Figure = figure.to_plotly_json()
    return plain
