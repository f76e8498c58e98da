"""Runs as files to take away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, StreamingResponse

from app import runs
from app.comparing import selection
from app.exchange import series, tables, tensorboard
from app.exchange.series import SeriesOut
from app.exchange.sheets import WRITERS, Format
from app.exchange.tables import Table
from app.routes.api import router as api
from app.routes.asked import Asked
from app.runs_table import listing
from app.schemas import Problem
from app.state import Shared, State

router = APIRouter(
    prefix=api.prefix,
    responses={404: {"model": Problem}, 422: {"model": Problem}},
    default_response_class=StreamingResponse,
    generate_unique_id_function=lambda route: route.name,
)

IN_MEMORY = 2 * 1024 * 1024
PIECE = 256 * 1024
MOST_WORDS = listing.LONGEST_COLS
_ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}
_FILES: dict[int | str, dict[str, Any]] = {200: {"content": {media: {} for _, media in WRITERS.values()}}}


@router.get("/runs.{format}", responses=_FILES)
def export_runs(
    format: Format,
    query: Asked,
    shared: Shared,
    columns: Annotated[
        str,
        Query(description="Such as `name,lr,best_val_accuracy`, in this order; left out: all.", max_length=MOST_WORDS),
    ] = "",
) -> StreamingResponse:
    """All runs of the query as a table, with every column or with those named; `page` means nothing here."""
    keys = [key for key in columns.split(",") if key.strip()]
    writer, media_type = WRITERS[format]

    def write(out: BinaryIO) -> None:
        with shared.db.read() as session:
            table = tables.runs(session, query, now=shared.clock(), keys=keys)
            writer(out, table.fields, table.rows)

    return _download(shared, write, media_type, f"runs.{format}")


@router.get("/tensorboard.zip", responses=_ZIP)
def export_runs_tensorboard(
    query: Asked,
    shared: Shared,
    chosen: Annotated[
        list[Annotated[str, Query(max_length=8000)]] | None,
        Query(alias="runs", description="Numbers and ranges, as 3,5,10-20; left out: all of the query."),
    ] = None,
) -> StreamingResponse:
    """The curves of several runs, a folder for each: unpack it, and `tensorboard --logdir` shows them together."""
    with shared.db.read() as session:
        found = selection.ids(chosen or [])
        wanted = found or listing.ids(session, query, now=shared.clock(), limit=tensorboard.MOST_RUNS + 1)
    if len(wanted) > tensorboard.MOST_RUNS:
        words = (
            f"At most {tensorboard.MOST_RUNS} runs go into one file; `fitroom export --tensorboard` writes any number."
        )
        raise listing.QueryError({"runs" if chosen else "filter": words})

    def write(out: BinaryIO) -> None:
        tensorboard.write_zip(shared.db, dict.fromkeys(wanted), out)

    return _download(shared, write, "application/zip", "runs-tensorboard.zip")


@router.get("/runs/{run_id}/epochs.{format}", responses=_FILES)
def export_epochs(run_id: int, format: Format, shared: Shared) -> StreamingResponse:
    """A run's epochs as a table, with the columns that `metrics` has."""
    return _table(shared, run_id, format, tables.epochs, "epochs")


@router.get("/runs/{run_id}/steps.{format}", responses=_FILES)
def export_steps(run_id: int, format: Format, shared: Shared) -> StreamingResponse:
    """The training loss of every step of a run as a table."""
    return _table(shared, run_id, format, tables.steps, "steps")


@router.get("/runs/{run_id}/series.{format}", responses=_FILES)
def export_series(run_id: int, format: Format, shared: Shared) -> StreamingResponse:
    """The further measures of an imported run as a table."""
    return _table(shared, run_id, format, tables.series, "series")


@router.get("/runs/{run_id}/series", response_class=JSONResponse)
def get_series(
    run_id: int,
    shared: Shared,
    width: Annotated[int, Query(ge=10, le=10_000, description="Pixels of the chart that they are drawn on.")] = 1000,
) -> list[SeriesOut]:
    """The further measures of an imported run, thinned to what a chart of this width can show."""
    with shared.db.read() as session:
        runs.get(session, run_id)
        return series.drawn(session, run_id, width)


@router.get("/runs/{run_id}/tensorboard.zip", responses=_ZIP)
def export_tensorboard(run_id: int, shared: Shared) -> StreamingResponse:
    """A run's curves as a TensorBoard event file: unpack it, and `tensorboard --logdir` shows them."""

    def write(out: BinaryIO) -> None:
        tensorboard.write_zip(shared.db, [run_id], out)

    return _download(shared, write, "application/zip", f"run{run_id}-tensorboard.zip")


def _table(shared: State, run_id: int, format: Format, table: Callable[..., Table], name: str) -> StreamingResponse:
    writer, media_type = WRITERS[format]

    def write(out: BinaryIO) -> None:
        with shared.db.read() as session:
            runs.get(session, run_id)
            found = table(session, run_id)
            writer(out, found.fields, found.rows)

    return _download(shared, write, media_type, f"run{run_id}-{name}.{format}")


def _download(shared: State, write: Callable[[BinaryIO], None], media_type: str, name: str) -> StreamingResponse:
    """What `write` writes, first to a temporary file.

    So a slow reader holds neither memory nor a database connection, and what goes wrong is still an error's status.
    """
    shared.settings.cache_dir.mkdir(parents=True, exist_ok=True)
    file = cast("BinaryIO", tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(shared.settings.cache_dir)))  # noqa: SIM115
    try:
        write(file)
    except BaseException:
        file.close()
        raise
    size = file.tell()
    file.seek(0)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return StreamingResponse(_pieces(file), media_type=media_type, headers=headers)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece
