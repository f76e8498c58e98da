"""The HTML pages and what their forms post to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from app import actions, charts, forms, metrics, runs
from app.actions import Form, dataset_choices, device_choices, submit, values_of
from app.comparing import settings_diff
from app.data_sets import datasets
from app.errors import QUEUE_RETRY_S
from app.forms import FormError
from app.guarding.access import Who
from app.looking import evaluation, hard, images, paired
from app.models import Run, Source
from app.pages import templates
from app.routes.imports import imported_page
from app.runs import QueueFull, UnreadableSettings
from app.schemas import EpochOut, PresetOut, RunOut
from app.state import Shared, State
from trainer.config import OPTIONS
from trainer.errors import DataError
from trainer.presets import PRESETS

router = APIRouter(include_in_schema=False)

TIME_PARTS = (
    {"name": "data", "label": "Data", "help": "Waiting for batches"},
    {"name": "compute", "label": "Computing", "help": "Transforms, forward, backward and optimizer"},
    {"name": "validation", "label": "Validation", "help": "Going over the validation images"},
    {"name": "recording", "label": "Recording", "help": "Writing down losses, predictions and epochs"},
)

AtEpoch = Annotated[int | None, Query(ge=1, le=10**6)]
Order = Annotated[str, Query(pattern=evaluation.ORDER)]
Show = Annotated[str, Query(pattern=evaluation.SHOW)]


@router.get("/")
def home() -> Response:
    return RedirectResponse("/runs")


@router.get("/runs/new")
def show_form(
    request: Request,
    shared: Shared,
    from_id: Annotated[int | None, Query(alias="from")] = None,
    preset: str = "tutorial",
    dataset: Annotated[str, Query(max_length=80)] = OPTIONS["dataset"].default,
) -> Response:
    if from_id is None:
        chosen = PRESETS.get(preset, PRESETS["tutorial"])
        own = datasets.suggested(dataset, shared.settings.data_dir)
        return _form_page(request, shared, chosen.values | own, {}, preset=chosen.name)
    with shared.db.read() as session:
        run = runs.get(session, from_id)
        return _form_page(request, shared, values_of(run), {}, from_run=RunOut.of(run, now=shared.clock()))


@router.post("/runs")
def submit_form(request: Request, values: Form, shared: Shared, who: Who) -> Response:
    try:
        run = submit(shared, values, who)
    except FormError as error:
        return _form_page(request, shared, values, error.errors)
    except QueueFull as error:
        page = _form_page(request, shared, values, {}, refused=str(error))
        page.status_code = 429
        page.headers["Retry-After"] = str(QUEUE_RETRY_S)
        return page
    return RedirectResponse(f"/runs/{run.id}", 303)


@router.get("/runs/{run_id}")
def show_run(
    request: Request, run_id: int, shared: Shared, show: Show = "first", epoch: AtEpoch = None, order: Order = "listed"
) -> Response:
    with shared.db.read() as session:
        run = runs.get(session, run_id)
        if run.source != Source.FITROOM:
            return imported_page(request, session, run, shared.clock())
        epochs = metrics.epochs(session, run_id)
        told = _told(session, run_id, epoch)
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
            },
            "time_parts": TIME_PARTS,
            "has_weights": shared.settings.weights(run_id).exists(),
            "show": show,
            "chosen_epoch": epoch,
            "nav": "runs",
        }
        | _evaluated(shared, run, told, show, order),
    )


@router.get("/runs/{run_id}/try")
def show_try(request: Request, run_id: int, shared: Shared) -> Response:
    """A page to give the run's network an image and see what it says."""
    with shared.db.read() as session:
        run = RunOut.of(runs.get(session, run_id), now=shared.clock())
    ready = shared.settings.weights(run_id).exists()
    return templates.TemplateResponse(request, "try.html", {"run": run, "ready": ready, "nav": "runs"})


@router.get("/runs/{run_id}/hard")
def show_hard(
    request: Request,
    run_id: int,
    shared: Shared,
    kind: Literal["always", "forgotten", "flipping", "labels"] = "always",
) -> Response:
    """The validation images that the run finds hard."""
    with shared.db.read() as session:
        run = RunOut.of(runs.get(session, run_id), now=shared.clock())
        told, by_epoch = _told(session, run_id, None), metrics.classes_by_epoch(session, run_id)
    context = {"run": run, "kinds": hard.KINDS, "chosen": kind, "epochs": len(by_epoch), "nav": "runs"}
    try:
        context["hard"] = hard.find(told, by_epoch, shared.settings.data_dir, kind=kind) if told else None
    except (DataError, images.NoSuchImage) as error:
        context["no_images"] = str(error)
    return templates.TemplateResponse(request, "hard.html", context)


@router.get("/runs/{run_id}/samples.csv")
def download_samples(run_id: int, shared: Shared) -> Response:
    """Every validation image with its prediction and how it fared over the epochs."""
    with shared.db.read() as session:
        told, by_epoch = evaluation.Told.of(session, run_id), metrics.classes_by_epoch(session, run_id)
    text = hard.as_csv(told, by_epoch, shared.settings.data_dir)
    headers = {"Content-Disposition": f'attachment; filename="run{run_id}-samples.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/runs/{run_id}/confusion")
def show_confusion(
    request: Request, run_id: int, shared: Shared, epoch: AtEpoch = None, order: Order = "listed"
) -> Response:
    """The part of a run's page that shows it class by class, for a page that wants another epoch's."""
    with shared.db.read() as session:
        told = evaluation.Told.of(session, run_id, epoch)
    confusion = evaluation.confusion(told, shared.settings.data_dir)
    context = {
        "run": {"id": run_id},
        "confusion": confusion,
        "order": evaluation.ordered(confusion, order),
        "calibration": evaluation.calibration(told, shared.settings.data_dir),
    }
    return templates.TemplateResponse(request, "partials/confusion.html", context)


@router.post("/runs/{run_id}/cancel")
def cancel(run_id: int, shared: Shared, who: Who) -> Response:
    actions.cancel(shared, run_id, who)
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/again")
def again(run_id: int, shared: Shared, who: Who) -> Response:
    with shared.db.read() as session:
        values = values_of(runs.get(session, run_id))
    return RedirectResponse(f"/runs/{submit(shared, values, who).id}", 303)


@router.get("/runs/{run_id}/delete")
def confirm_delete(request: Request, run_id: int, shared: Shared) -> Response:
    with shared.db.read() as session:
        run = RunOut.of(runs.get(session, run_id), now=shared.clock())
    return templates.TemplateResponse(request, "delete.html", {"run": run, "nav": "runs"})


@router.post("/runs/{run_id}/delete")
def delete(run_id: int, shared: Shared, who: Who) -> Response:
    actions.delete(shared, run_id, who)
    return RedirectResponse("/runs", 303)


@router.get("/compare/images")
def show_pair(
    request: Request,
    shared: Shared,
    run_ids: Annotated[list[int], Query(alias="runs", min_length=2, max_length=2)],
    kind: Literal["first", "second", "neither"] = "first",
) -> Response:
    """Two runs on the same validation images."""
    context: dict[str, Any] = {"kind": kind, "nav": "runs"}
    with shared.db.read() as session:
        context["runs"] = [RunOut.of(runs.get(session, run_id), now=shared.clock()) for run_id in run_ids]
        told = [_told(session, run_id, None) for run_id in run_ids]
    try:
        first, second = told
        if first is None or second is None:
            raise images.NoSuchImage("One of the two runs has not done an epoch yet.")
        context["pair"] = paired.of(first, second, shared.settings.data_dir, kind=kind)
    except (DataError, images.NoSuchImage) as error:
        context["problem"] = str(error)
    return templates.TemplateResponse(request, "paired.html", context)


def _form_page(
    request: Request,
    shared: State,
    values: dict[str, Any],
    errors: dict[str, str],
    *,
    from_run: RunOut | None = None,
    preset: str | None = None,
    refused: str = "",
) -> Response:
    offered = datasets.grouped(shared.settings.data_dir)
    choices = {
        "device": [("", device_choices(shared, str(values.get("device", "auto"))))],
        "dataset": dataset_choices(offered, str(values.get("dataset", "fashion-mnist"))),
    }
    form = {
        "groups": forms.groups(values, errors, choices),
        "presets": [PresetOut.of(item) for item in PRESETS.values()],
        "defaults": {name: forms.shown(option.default) for name, option in OPTIONS.items()},
        "datasets": {
            item.id: {"label": item.label, "facts": item.facts, "image_size": item.image_size}
            for _, items in offered
            for item in items
        },
        "preset": preset,
        "values": values,
        "errors": errors,
        "refused": refused,
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
            "value": settings_diff.shown(name, run.config.get(name, option.default)),
            "is_default": run.config.get(name, option.default) == option.default,
        }
        for name, option in OPTIONS.items()
        if option.applies_to(run.config)
    ]


def _evaluated(shared: State, run: Run, told: evaluation.Told | None, show: str, order: str) -> dict[str, Any]:
    """The grids, the confusion matrix and the calibration; without the data set's files the page still says why."""
    data_dir = shared.settings.data_dir
    orders = {"orders": evaluation.ORDERS, "order_name": order}
    try:
        confusion = evaluation.confusion(told, data_dir) if told else None
        return orders | {
            "samples": images.samples(runs.config_of(run), data_dir),
            "predictions": evaluation.grid(told, data_dir, show=show) if told else None,
            "confusion": confusion,
            "order": evaluation.ordered(confusion, order) if confusion else [],
            "calibration": evaluation.calibration(told, data_dir) if told else None,
            "no_images": "",
        }
    except (DataError, images.NoSuchImage, UnreadableSettings) as error:
        missing = dict.fromkeys(("samples", "predictions", "confusion", "calibration"))
        return {**orders, **missing, "no_images": str(error)}


def _told(session: Session, run_id: int, epoch: int | None) -> evaluation.Told | None:
    """None where nothing has been told of that epoch yet, or cannot be read: the page stands without it."""
    try:
        return evaluation.Told.of(session, run_id, epoch)
    except (images.NoSuchImage, UnreadableSettings):
        return None
