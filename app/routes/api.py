"""The JSON API, version 1."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from app import actions, forms, metrics, runs
from app.actions import JsonObject, body_of, checked, submit
from app.comparing import curves
from app.guarding.access import Who
from app.looking import evaluation, images, networks, preview, script, takeaway, tryout
from app.routes import bodies
from app.routes.asked import Asked
from app.runs_table import bulk, listing, views
from app.schemas import EpochOut, ManyIn, MetricsOut, PresetOut, Problem, RunOut, RunsOut, StepsOut, ViewIn, ViewOut
from app.state import Shared, State
from trainer.presets import PRESETS

router = APIRouter(
    prefix="/api/v1",
    responses={status: {"model": Problem} for status in (404, 422)},
    generate_unique_id_function=lambda route: route.name,
)


_FLOATS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


async def _content(request: Request) -> bytes:
    return await request.body()


Content = Annotated[bytes, Depends(_content)]


@router.post("/runs", status_code=201, openapi_extra=bodies.SUBMISSION)
def submit_run(values: JsonObject, response: Response, shared: Shared, who: Who) -> RunOut:
    """Queue a run. Fields left out take the tutorial's defaults; errors come back by field."""
    run = submit(shared, values, who)
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return run


@router.post("/network", openapi_extra=bodies.SUBMISSION)
def describe_network(values: JsonObject, shared: Shared) -> networks.NetworkOut:
    """The layers, parameters and operations of the network that these settings would train."""
    return networks.describe(shared, forms.parse(values).config)


@router.get(
    "/augmented.png",
    openapi_extra=bodies.SETTINGS_IN_QUERY,
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def preview_augmentation(request: Request, shared: Shared) -> Response:
    """The first training images as they are, and three times as settings in the query would feed them."""
    config = forms.parse({"batch_size": "1", **request.query_params}).config
    return Response(preview.augmented(shared, config), media_type="image/png", headers={"Cache-Control": "no-store"})


@router.get("/presets")
def list_presets() -> list[PresetOut]:
    """Ready-made settings to start from."""
    return [PresetOut.of(preset) for preset in PRESETS.values()]


@router.get("/runs")
def list_runs(query: Asked, shared: Shared) -> RunsOut:
    """Runs, newest first, fifty a page."""
    now = shared.clock()
    with shared.db.read() as session:
        rows = [RunOut.of(run, now=now) for run in listing.page(session, query, now=now)]
        return RunsOut(total=listing.total(session, query, now=now), runs=rows)


@router.post("/runs/bulk", openapi_extra=body_of(ManyIn))
def change_runs(values: JsonObject, shared: Shared, who: Who) -> bulk.Outcome:
    """Do one thing to up to 1,000 runs; `refused` says by number where it could not be done."""
    wanted = checked(ManyIn, values)
    run_ids = wanted.runs if wanted.address is None else bulk.matching(shared, wanted.address)
    return bulk.apply(shared, wanted.action, run_ids, who, tag=wanted.tag)


@router.get("/views")
def list_views(shared: Shared) -> list[ViewOut]:
    """Views of the table that were saved under a name."""
    with shared.db.read() as session:
        return [ViewOut.model_validate(view) for view in views.all_of(session)]


@router.put("/views/{name}", openapi_extra=body_of(ViewIn))
def save_view(name: str, values: JsonObject, shared: Shared, who: Who) -> ViewOut:
    """Save one: `address` is what stands behind the `?` of the table's address."""
    return ViewOut.model_validate(actions.save_view(shared, name, checked(ViewIn, values).address, who))


@router.delete("/views/{name}", status_code=204)
def delete_view(name: str, shared: Shared, who: Who) -> None:
    """Forget a saved view; the runs stay."""
    actions.delete_view(shared, name, who)


@router.get("/runs/{run_id}")
def get_run(run_id: int, shared: Shared) -> RunOut:
    """One run, as it stands now."""
    with shared.db.read() as session:
        return RunOut.of(runs.get(session, run_id), now=shared.clock())


@router.get("/runs/{run_id}/metrics")
def get_metrics(run_id: int, shared: Shared) -> MetricsOut:
    """Everything that the run has recorded, and the cursor at which the event stream goes on."""
    with shared.db.read() as session:
        runs.get(session, run_id)
        return MetricsOut(
            cursor=metrics.cursor(session),
            epochs=EpochOut.all_of(metrics.epochs(session, run_id)),
            steps=[StepsOut.model_validate(block) for block in metrics.steps(session, run_id)],
        )


AtEpoch = Annotated[int | None, Query(ge=1, le=10**6, description="Left out: the newest.")]


@router.get("/runs/{run_id}/predictions")
def get_predictions(
    run_id: int,
    shared: Shared,
    epoch: AtEpoch = None,
    show: Annotated[
        str, Query(pattern=evaluation.SHOW, description="first, mistakes, or numbers of classes: true-predicted.")
    ] = "first",
) -> JSONResponse:
    """A grid of validation images with what the model said of them after an epoch."""
    grid = evaluation.grid(_told(shared, run_id, epoch), shared.settings.data_dir, show=show)
    return JSONResponse({name: getattr(grid, name) for name in grid.__slots__})


@router.get("/runs/{run_id}/confusion")
def get_confusion(run_id: int, shared: Shared, epoch: AtEpoch = None) -> evaluation.ConfusionOut:
    """The confusion matrix of the validation images after an epoch, and precision, recall and F1 of each class."""
    return evaluation.confusion(_told(shared, run_id, epoch), shared.settings.data_dir)


@router.get("/runs/{run_id}/calibration")
def get_calibration(run_id: int, shared: Shared, epoch: AtEpoch = None) -> evaluation.CalibrationOut:
    """How often the model is right where it is how sure, and the expected calibration error."""
    return evaluation.calibration(_told(shared, run_id, epoch), shared.settings.data_dir)


def _told(shared: State, run_id: int, epoch: int | None) -> evaluation.Told:
    with shared.db.read() as session:
        return evaluation.Told.of(session, run_id, epoch)


@router.post(
    "/runs/{run_id}/predict",
    openapi_extra={"requestBody": {"required": True, "content": {"image/*": {"schema": {"format": "binary"}}}}},
)
def predict_image(
    run_id: int,
    content: Content,
    shared: Shared,
    invert: tryout.Invert = "auto",
    crop: bool = True,
) -> tryout.Prediction:
    """What the network of the best epoch says of the image in the body, and where it looked."""
    with shared.db.read() as session:
        config = runs.config_of(runs.get(session, run_id))
    weights = takeaway.weights(shared, run_id)
    like = images.image_set(config.dataset, "train", shared.settings.data_dir, config.csv_shape)
    return tryout.predict(shared.torch, weights, content, like, invert=invert, crop=crop)


@router.get("/runs/{run_id}/weights", response_class=FileResponse)
def get_weights(run_id: int, shared: Shared) -> FileResponse:
    """The weights of the best epoch as safetensors; settings, classes and epoch are in its metadata."""
    with shared.db.read() as session:
        run = runs.get(session, run_id)
    path = takeaway.weights(shared, run_id)
    return FileResponse(path, filename=f"{run.config['arch']}-run{run_id}.safetensors")


@router.get("/runs/{run_id}/onnx", response_class=FileResponse)
def get_onnx(run_id: int, shared: Shared) -> FileResponse:
    """The network of the best epoch as ONNX: uint8 images [N, C, size, size] in, logits out.

    The first time takes some seconds; onnxruntime then has said what torch says on 100 validation images.
    """
    with shared.db.read() as session:
        run = runs.get(session, run_id)
    path = takeaway.onnx(shared, run_id)
    return FileResponse(path, filename=f"{run.config['arch']}-run{run_id}.onnx")


@router.get(
    "/runs/{run_id}/script",
    response_class=Response,
    responses={200: {"content": {"text/x-python": {}}}, 409: {"model": Problem}},
)
def get_script(run_id: int, shared: Shared) -> Response:
    """The run as one plain Python file that needs no Fitroom."""
    with shared.db.read() as session:
        text = script.script(runs.get(session, run_id), shared.settings.data_dir)
    headers = {"Content-Disposition": f'attachment; filename="run{run_id}.py"'}
    return Response(text, media_type="text/x-python; charset=utf-8", headers=headers)


@router.post("/runs/{run_id}/cancel", responses={409: {"model": Problem}})
def cancel_run(run_id: int, shared: Shared, who: Who) -> RunOut:
    """End a queued run at once; ask a running one to stop after the step under way."""
    return actions.cancel(shared, run_id, who)


@router.patch("/runs/{run_id}", openapi_extra=bodies.EDIT)
def edit_run(run_id: int, values: JsonObject, shared: Shared, who: Who) -> RunOut:
    """Change what people write on a run: `name`, `notes`, `tags`, `starred`, `archived`; what is left out stays."""
    return actions.edit(shared, run_id, values, who)


@router.delete("/runs/{run_id}", status_code=204, responses={409: {"model": Problem}})
def delete_run(run_id: int, shared: Shared, who: Who) -> None:
    """Delete a run, its history and its checkpoints for good."""
    actions.delete(shared, run_id, who)


@router.get("/runs/{run_id}/steps", response_class=Response, responses=_FLOATS)
def get_steps(
    run_id: int, shared: Shared, after: Annotated[int, Query(ge=-1, le=10**10, description="Only steps after it.")] = -1
) -> Response:
    """The training loss of every step, as plain little-endian float32 numbers; NaN where it was not finite."""
    with shared.db.read() as session:
        runs.get(session, run_id)
        losses = curves.steps_of(session, run_id, after=after)
    return Response(losses.astype("<f4", copy=False).tobytes(), media_type="application/octet-stream")
