"""Data sets by JSON, and as files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from starlette.responses import StreamingResponse

from app.actions import JsonObject
from app.data_sets import datasets
from app.data_sets.datasets import DataSetDetailOut, DataSetOut, InUse
from app.data_sets.fetching import KnownSet
from app.guarding.access import Who
from app.routes.images import known
from app.schemas import Problem
from app.state import Shared, State
from trainer.errors import DataMissing

router = APIRouter(
    prefix="/api/v1",
    responses={status: {"model": Problem} for status in (404, 422)},
    generate_unique_id_function=lambda route: route.name,
)


@router.get("/datasets")
def list_datasets(shared: Shared) -> list[DataSetOut]:
    """What a run may name as its `dataset`."""
    return datasets.catalogue(shared.settings.data_dir)


@router.get("/fetches")
def list_fetches(shared: Shared) -> list[KnownSet]:
    """torchvision's small sets, and how far the download of each is."""
    return shared.fetching.known()


@router.post("/fetches/{name}", status_code=202)
def fetch_dataset(name: str, shared: Shared, who: Who) -> None:
    """Begin to download one of them; ask for the list to see how far it is."""
    datasets.fetch(shared, name, who)


@router.get("/datasets/{dataset}")
def get_dataset(dataset: str, shared: Shared) -> DataSetDetailOut:
    """One data set, its versions and the runs that name it; set:NAME without a version is the newest."""
    return found_or_404(dataset, shared)


@router.put("/datasets/{dataset}/card")
def describe_dataset(dataset: str, values: JsonObject, shared: Shared, who: Who) -> DataSetOut:
    """Change what is said of it: `source`, `licence`, `notes`."""
    return datasets.describe(shared, found_or_404(dataset, shared).id, values, who)


@router.delete("/datasets/{dataset}", status_code=204, responses={409: {"model": Problem}})
def delete_dataset(
    dataset: str,
    shared: Shared,
    who: Who,
    breaks: Annotated[
        str, Query(max_length=10_000, description="Numbers of the runs that may lose their images.")
    ] = "",
) -> None:
    """Remove one version for good; 409 with their numbers where runs name it that `breaks` does not."""
    about = found_or_404(dataset, shared)
    try:
        datasets.remove(shared, about.id, who, breaks=datasets.run_ids(breaks))
    except InUse as error:
        raise HTTPException(409, str(error)) from error


@router.get(
    "/datasets/{dataset}/npz",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
def get_npz(dataset: str, shared: Shared) -> StreamingResponse:
    """All of it as one .npz, with its data card; numpy.load(file, allow_pickle=False) reads it, an upload takes it."""
    name, content = datasets.npz(found_or_404(dataset, shared).id, shared.settings.data_dir)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type="application/zip", headers=headers)


def found_or_404(dataset: str, shared: State) -> DataSetDetailOut:
    """Raises a 404 for one that is not here."""
    known(dataset)
    try:
        return datasets.detail(shared, dataset)
    except DataMissing as error:
        raise HTTPException(404, str(error)) from error
