"""The pages of comparisons."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from markupsafe import Markup
from starlette.responses import Response

from app import metrics
from app.comparing import compare_view, comparison, measures, report, selection, statistics
from app.comparing.compare_view import View
from app.comparing.comparison import Comparison
from app.comparing.outcomes import OUTCOMES
from app.pages import templates
from app.routes.compare_api import Chosen
from app.state import Shared

router = APIRouter(include_in_schema=False)

MOST_SIDE_BY_SIDE = 12
"""Runs of which the settings stand in columns; of more, a setting's values are counted."""
MOST_ON_PAPER = 6
"""The same, for a report."""
DRAWN = {"id", "name", "status", "color", "dash", "steps_per_epoch"}
"""What the page's modules need of a run."""


def viewed(request: Request) -> View:
    return View.of(request.query_params)


Viewed = Annotated[View, Depends(viewed)]


@router.get("/compare")
def show_comparison(request: Request, shared: Shared, runs: Chosen, view: Viewed) -> Response:
    with shared.db.read() as session:
        compared = comparison.of(session, runs, now=shared.clock())
        offered = measures.names(session, runs)
        cursor = metrics.cursor(session)
    view = view.showing(offered)
    context = {
        "measures": {measures.PREFIX + name: name for name in offered},
        "columns": comparison.columns(compared),
        "drawn_runs": [run.model_dump(include=DRAWN) for run in compared.runs],
        "front": comparison.front(compared),
        "missing": len(runs) - len(compared.runs),
        "cut_off": "runs" not in request.query_params and len(runs) == selection.MOST,
        "stream_url": f"/api/v1/events?after={cursor}",
    }
    context |= _shared(compared, view) | _grouped(compared, view)
    return templates.TemplateResponse(request, "compare.html", context)


@router.get("/compare/groups")
def show_groups(request: Request, shared: Shared, runs: Chosen, view: Viewed) -> Response:
    """The part that holds groups against each other, for a page on which another grouping was chosen."""
    with shared.db.read() as session:
        compared = comparison.of(session, runs, now=shared.clock())
    context = _shared(compared, view) | _grouped(compared, view)
    return templates.TemplateResponse(request, "partials/compare_groups.html", context)


@router.get("/compare/importance")
def show_importance(request: Request, shared: Shared, runs: Chosen, view: Viewed) -> Response:
    """Which settings matter: a page of its own, since working it out takes a moment; the comparison fetches it."""
    with shared.db.read() as session:
        compared = comparison.of(session, runs, now=shared.clock())
    found = comparison.importance(compared, view.outcome)
    context = _shared(compared, view) | {"importance": found}
    return templates.TemplateResponse(request, "importance.html", context)


@router.get("/compare/report")
def show_report(request: Request, shared: Shared, runs: Chosen, view: Viewed, save: bool = False) -> Response:
    """The comparison as a document; with `save` as one file that needs nothing else."""
    now = shared.clock()
    with shared.db.read() as session:
        compared = comparison.of(session, runs, now=now)
        view = view.showing(measures.names(session, runs))
        pictures = report.charts(session, compared, view) if compared.runs else []
    context = _shared(compared, view) | _grouped(compared, view)
    context |= {
        "pictures": pictures,
        "front": comparison.front(compared),
        "importance": comparison.importance(compared, view.outcome) if compared.runs else None,
        "running": sum(not run.over for run in compared.runs),
        "made_at": now,
        "side_by_side": len(compared.runs) <= MOST_ON_PAPER,
        "saved": save,
        "style": Markup(report.style()),  # noqa: S704 - our own style sheets
    }
    headers = {"Content-Disposition": f'attachment; filename="comparison-{now:%Y%m%d-%H%M}.html"'} if save else {}
    return templates.TemplateResponse(request, "report.html", context, headers=headers)


def _shared(compared: Comparison, view: View) -> dict[str, Any]:
    address = selection.address([run.id for run in compared.runs])
    return {
        "runs": compared.runs,
        "diff": compared.diff,
        "same": compared.same,
        "side_by_side": len(compared.runs) <= MOST_SIDE_BY_SIDE,
        "address": address,
        "view": view,
        "view_url": lambda path="/compare", **changed: "&".join(
            filter(None, [f"{path}?{address}", view.query(**changed)])
        ),
        "x_axes": compare_view.X_AXES,
        "shown": compare_view.SHOWN,
        "charts": compare_view.CHARTS,
        "outcomes": OUTCOMES,
        "nav": "runs",
    }


def _grouped(compared: Comparison, view: View) -> dict[str, Any]:
    if not compared.runs:
        return {}
    groups = comparison.groups(compared, view.grouping, view.outcome, a=view.a, b=view.b)
    return {"groups": groups, "groupings": comparison.groupings(compared), "signed": statistics.signed}
