"""The HTML pages and what their forms post to."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from app import charts, comparison, forms, images, listing, metrics, runs
from app.forms import FormError
from app.models import Run
from app.pages import templates
from app.schemas import EpochOut, RunOut
from app.state import Shared, State
from app.submit import Form, device_choices, submit, values_of
from trainer.config import OPTIONS
from trainer.errors import DataError

router = APIRouter(include_in_schema=False)

Show = Literal["first", "mistakes"]


@router.get("/")
def home() -> Response:
    return RedirectResponse("/runs")


@router.get("/runs")
def show_runs(
    request: Request, shared: Shared, status: str = "", q: str = "", sort: str = "", page: int = 1
) -> Response:
    query = listing.Query.of(status=status, q=q, sort=sort, page=page)
    return templates.TemplateResponse(request, "runs.html", _table(shared, query) | {"nav": "runs"})


@router.get("/runs/rows")
def show_rows(
    request: Request, shared: Shared, status: str = "", q: str = "", sort: str = "", page: int = 1
) -> Response:
    """The table's rows alone, for a page that has heard of new ones."""
    query = listing.Query.of(status=status, q=q, sort=sort, page=page)
    table = _table(shared, query)
    headers = {"Fitroom-Counts": json.dumps(table["counts"])}
    return templates.TemplateResponse(request, "partials/run_rows.html", table, headers=headers)


@router.get("/runs/new")
def show_form(request: Request, shared: Shared, from_id: Annotated[int | None, Query(alias="from")] = None) -> Response:
    if from_id is None:
        return _form_page(request, shared, {}, {})
    with shared.db.read() as session:
        run = runs.get(session, from_id)
        return _form_page(request, shared, values_of(run), {}, from_run=RunOut.of(run, now=shared.clock()))


@router.post("/runs")
def submit_form(request: Request, values: Form, shared: Shared) -> Response:
    try:
        run = submit(shared, values)
    except FormError as error:
        return _form_page(request, shared, values, error.errors)
    return RedirectResponse(f"/runs/{run.id}", 303)


@router.get("/runs/{run_id}")
def show_run(request: Request, run_id: int, shared: Shared, show: Show = "first") -> Response:
    with shared.db.read() as session:
        run = runs.get(session, run_id)
        epochs = metrics.epochs(session, run_id)
        steps = metrics.steps(session, run_id)
        predicted = metrics.predictions(session, run_id)
        context = {
            "log": metrics.log_lines(session, run_id),
            "ahead": runs.ahead(session, run),
            "stream_url": f"/api/v1/runs/{run_id}/events?after={metrics.cursor(session)}",
        }
    shown = RunOut.of(run, now=shared.clock())
    return templates.TemplateResponse(
        request,
        "run.html",
        context
        | {
            "run": shown,
            "epochs": EpochOut.all_of(epochs),
            "config_rows": _config_rows(run),
            "figures": {
                "loss": charts.loss(epochs, total=shown.epochs),
                "accuracy": charts.accuracy(epochs, total=shown.epochs),
                "steps": charts.steps(),
            },
            "step_blocks": [asdict(block) for block in steps],
            "show": show,
            "nav": "runs",
        }
        | _grids(shared, run, predicted, show),
    )


@router.post("/runs/{run_id}/cancel")
def cancel(run_id: int, shared: Shared) -> Response:
    with shared.db.write() as session:
        runs.request_cancel(session, run_id, now=shared.clock())
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/again")
def again(run_id: int, shared: Shared) -> Response:
    with shared.db.read() as session:
        values = values_of(runs.get(session, run_id))
    return RedirectResponse(f"/runs/{submit(shared, values).id}", 303)


@router.get("/runs/{run_id}/delete")
def confirm_delete(request: Request, run_id: int, shared: Shared) -> Response:
    with shared.db.read() as session:
        run = RunOut.of(runs.get(session, run_id), now=shared.clock())
    return templates.TemplateResponse(request, "delete.html", {"run": run, "nav": "runs"})


@router.post("/runs/{run_id}/delete")
def delete(run_id: int, shared: Shared) -> Response:
    runs.delete_with_files(shared.db, shared.settings, run_id, now=shared.clock())
    return RedirectResponse("/runs", 303)


@router.get("/compare")
def show_comparison(
    request: Request, shared: Shared, runs: Annotated[list[int] | None, Query(max_length=100)] = None
) -> Response:
    wanted = runs or []
    with shared.db.read() as session:
        compared = comparison.of(session, wanted, now=shared.clock())
        cursor = metrics.cursor(session)
    address = "&".join(f"runs={run.id}" for run in compared.runs)
    context = {
        "runs": compared.runs,
        "figures": compared.figures,
        "diff": compared.diff,
        "same": compared.same,
        "figures_url": f"/api/v1/compare?{address}",
        "stream_url": f"/api/v1/events?after={cursor}",
        "nav": "runs",
    }
    return templates.TemplateResponse(request, "compare.html", context)


def _table(shared: State, query: listing.Query) -> dict[str, Any]:
    now = shared.clock()
    with shared.db.read() as session:
        total = listing.total(session, query)
        pages = max(1, -(-total // listing.PAGE_SIZE))
        return {
            "rows": [RunOut.of(run, now=now) for run in listing.rows(session, query, now=now)],
            "columns": query.columns(),
            "total": total,
            "page": query.page,
            "pages": pages,
            "page_url": lambda page: query.url(page=page),
            "status_url": lambda status: query.url(status=status, page=1),
            "query": {"status": query.status, "q": query.q, "sort": query.sort},
            "counts": listing.counts(session),
            "rows_url": query.url("/runs/rows"),
            "stream_url": f"/api/v1/events?after={metrics.cursor(session)}",
        }


def _form_page(
    request: Request, shared: State, values: dict[str, Any], errors: dict[str, str], from_run: RunOut | None = None
) -> Response:
    devices = device_choices(shared, str(values.get("device", "auto")))
    form = {
        "groups": forms.groups(values, errors, devices),
        "values": values,
        "errors": errors,
        "from_run": from_run,
        "known": {*OPTIONS, "name", "tags", "notes"},
    }
    context = {"form": form, "nav": "new"}
    return templates.TemplateResponse(request, "new_run.html", context, status_code=422 if errors else 200)


def _config_rows(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "label": option.label,
            "value": comparison.shown(name, run.config.get(name, option.default)),
            "is_default": run.config.get(name, option.default) == option.default,
        }
        for name, option in OPTIONS.items()
    ]


def _grids(
    shared: State, run: Run, predicted: metrics.DecodedPredictions | None, show: str
) -> dict[str, images.Grid | str | None]:
    """The sample and prediction grids; without the data set's files the page still stands, and says why."""
    config, data_dir = runs.config_of(run), shared.settings.data_dir
    url = f"/api/v1/runs/{run.id}/predictions?show={show}"
    try:
        samples = images.samples(config, data_dir)
        grid = None if predicted is None else images.predictions(config, data_dir, predicted, show=show, url=url)
    except (DataError, images.NoSuchImage) as error:
        return {"samples": None, "predictions": None, "no_images": str(error)}
    return {"samples": samples, "predictions": grid, "no_images": ""}
