"""The JSON API, version 1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from app import comparison, forms, images, listing, metrics, runs
from app.schemas import EpochOut, MetricsOut, Problem, RunOut, RunsOut, StepsOut
from app.state import Shared
from app.submit import JsonObject, submit
from trainer.config import OPTIONS, Option

router = APIRouter(
    prefix="/api/v1",
    responses={status: {"model": Problem} for status in (404, 422)},
    generate_unique_id_function=lambda route: route.name,
)


def _json_schema(option: Option) -> dict[str, Any]:
    kind = {"integer": "integer", "number": "number", "boolean": "boolean"}.get(option.kind, "string")
    schema: dict[str, Any] = {
        "type": [kind, "null"] if option.optional else kind,
        "title": option.label,
        "description": option.help,
        "default": option.default,
        "minimum": option.minimum,
        "maximum": option.maximum,
        "exclusiveMinimum": option.above,
        "exclusiveMaximum": option.below,
        "enum": [value for value, _ in option.choices] or None,
    }
    return {name: value for name, value in schema.items() if value is not None}


_SUBMISSION = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "maxLength": forms.NAME_LENGTH},
                        "notes": {"type": "string", "maxLength": forms.NOTES_LENGTH},
                        "tags": {
                            "type": "array",
                            "items": {"type": "string", "maxLength": forms.TAG_LENGTH},
                            "maxItems": forms.TAGS,
                        },
                    }
                    | {option.name: _json_schema(option) for option in OPTIONS.values()},
                },
                "example": {"name": "first try", "epochs": 3, "lr": 0.001},
            }
        },
    }
}


@router.post("/runs", status_code=201, openapi_extra=_SUBMISSION)
def submit_run(values: JsonObject, response: Response, shared: Shared) -> RunOut:
    """Queue a run. Fields left out take the tutorial's defaults; errors come back by field."""
    run = submit(shared, values)
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return run


@router.get("/runs")
def list_runs(
    shared: Shared,
    status: str = "",
    q: Annotated[str, Query(description="Words in the name or a tag.")] = "",
    sort: Annotated[str, Query(description="A column of the table, with a minus for the largest first.")] = "",
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> RunsOut:
    """Runs, newest first, fifty a page."""
    query = listing.Query.of(status=status, q=q, sort=sort, page=page)
    now = shared.clock()
    with shared.db.read() as session:
        rows = [RunOut.of(run, now=now) for run in listing.rows(session, query, now=now)]
        return RunsOut(total=listing.total(session, query), runs=rows)


@router.get("/runs/{run_id}")
def get_run(run_id: int, shared: Shared) -> RunOut:
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


@router.get("/runs/{run_id}/predictions")
def get_predictions(
    run_id: int,
    shared: Shared,
    epoch: Annotated[int | None, Query(ge=1, le=10**6, description="Left out: the newest.")] = None,
    show: Literal["first", "mistakes"] = "first",
) -> JSONResponse:
    """A grid of validation images with what the model said of them after an epoch."""
    with shared.db.read() as session:
        run = runs.get(session, run_id)
        predicted = metrics.predictions(session, run_id, epoch)
    if predicted is None:
        raise images.NoSuchImage("There are no predictions of that epoch yet.")
    config = runs.config_of(run)
    url = f"/api/v1/runs/{run_id}/predictions?show={show}"
    grid = images.predictions(config, shared.settings.data_dir, predicted, show=show, url=url)
    return JSONResponse({name: getattr(grid, name) for name in grid.__slots__})


@router.post("/runs/{run_id}/cancel", responses={409: {"model": Problem}})
def cancel_run(run_id: int, shared: Shared) -> RunOut:
    """End a queued run at once; ask a running one to stop after the step under way."""
    now = shared.clock()
    with shared.db.write() as session:
        return RunOut.of(runs.request_cancel(session, run_id, now=now), now=now)


@router.delete("/runs/{run_id}", status_code=204, responses={409: {"model": Problem}})
def delete_run(run_id: int, shared: Shared) -> None:
    """Delete a run, its history and its checkpoints for good."""
    runs.delete_with_files(shared.db, shared.settings, run_id, now=shared.clock())


@router.get("/compare")
def compare_runs(shared: Shared, runs: Annotated[list[int], Query(max_length=100)]) -> comparison.Comparison:
    """The curves of several runs over each other, as Plotly figures, and what differs between their settings."""
    with shared.db.read() as session:
        return comparison.of(session, runs, now=shared.clock())
