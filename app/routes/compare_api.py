"""The JSON and binary API of comparisons."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from app.comparing import comparison, curves, measures, outcomes, selection
from app.comparing.curves import Window
from app.comparing.outcomes import OUTCOMES
from app.forms import FormError
from app.routes.asked import Parts
from app.runs_table import listing
from app.schemas import Problem
from app.state import Shared

router = APIRouter(
    prefix="/api/v1/compare",
    tags=["compare"],
    responses={422: {"model": Problem}},
    generate_unique_id_function=lambda route: route.name,
)


def chosen(
    shared: Shared,
    parts: Parts,
    runs: Annotated[
        list[str] | None,
        Query(description="Numbers and ranges of runs, as 3,5,10-20; left out: those that the table would show."),
    ] = None,
) -> list[int]:
    """The runs named, or those that the table finds, at most `selection.MOST` of them in its order."""
    narrowed = any(part for name, part in parts.items() if name != "sort")
    if runs is not None or not narrowed:
        return selection.ids(runs or [])
    query = listing.Query.of(**parts, page=1)
    with shared.db.read() as session:
        return list(listing.ids(session, query, now=shared.clock(), limit=selection.MOST))


Chosen = Annotated[list[int], Depends(chosen)]
_BINARY: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {curves.MEDIA_TYPE: {}},
        "description": "A header and columns of numbers (app/comparing/curves.py).",
    }
}


@router.get("")
def compare_runs(shared: Shared, runs: Chosen) -> comparison.Comparison:
    """Several runs, and where their settings differ."""
    with shared.db.read() as session:
        return comparison.of(session, runs, now=shared.clock())


@router.get("/curves", response_class=Response, responses=_BINARY)
def compare_curves(
    shared: Shared,
    runs: Chosen,
    columns: Annotated[
        str, Query(description=f"Of {', '.join(curves.COLUMNS)}, separated by commas.")
    ] = "val_accuracy",
    after: Annotated[int, Query(ge=0, le=10**6, description="Only epochs after this one.")] = 0,
) -> Response:
    """Columns of the runs' epochs, as binary numbers."""
    names = list(dict.fromkeys(columns.split(",")))
    unknown = [name for name in names if name not in curves.COLUMNS]
    if unknown:
        raise FormError({"columns": f"“{unknown[0][:40]}” is none of {', '.join(curves.COLUMNS)}."})
    with shared.db.read() as session:
        found = curves.of_epochs(session, runs, names, after=after)
    return Response(found.packed(), media_type=curves.MEDIA_TYPE)


@router.get("/steps", response_class=Response, responses=_BINARY)
def compare_steps(
    shared: Shared,
    runs: Chosen,
    first: Annotated[int, Query(ge=0, le=10**10)] = 0,
    last: Annotated[int | None, Query(ge=0, le=10**10)] = None,
    width: Annotated[int, Query(ge=1, le=8192, description="Columns of pixels that can tell points apart.")] = 1000,
    smooth: Annotated[float, Query(ge=0, le=0.999)] = 0.0,
) -> Response:
    """The training losses of the runs' steps from `first` to `last`, thinned exactly: first, least, greatest and last
    of every column of pixels."""
    with shared.db.read() as session:
        found = curves.of_steps(session, runs, Window(first, last, width), smoothing=smooth)
    return Response(found.packed(), media_type=curves.MEDIA_TYPE)


@router.get("/series", response_class=Response, responses=_BINARY)
def compare_series(
    shared: Shared,
    runs: Chosen,
    measure: Annotated[str, Query(max_length=1000, description="As the tool called it that the runs come from.")],
    first: Annotated[int, Query(ge=-(10**15), le=10**15)] = 0,
    last: Annotated[int | None, Query(ge=-(10**15), le=10**15, description="With it, only from `first` on.")] = None,
    width: Annotated[int, Query(ge=1, le=8192, description="Columns of pixels that can tell points apart.")] = 1000,
    smooth: Annotated[float, Query(ge=0, le=0.999)] = 0.0,
) -> Response:
    """A further measure of imported runs by its steps, thinned as those of the losses are."""
    with shared.db.read() as session:
        found = measures.of_runs(session, runs, measure, Window(first, last, width), smoothing=smooth)
    return Response(found.packed(), media_type=curves.MEDIA_TYPE)


@router.get("/importance")
def compare_importance(shared: Shared, runs: Chosen, metric: str = outcomes.DEFAULT) -> comparison.ImportanceOut:
    """Which of the settings that differ matter for the metric, by a random forest's permutation importance."""
    if metric not in OUTCOMES:
        raise FormError({"metric": f"Must be one of {', '.join(OUTCOMES)}."})
    with shared.db.read() as session:
        compared = comparison.of(session, runs, now=shared.clock())
    return comparison.importance(compared, OUTCOMES[metric])
