"""Pages of the data sets."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator, Field
from starlette.responses import RedirectResponse, Response

from app import browse, images, twins
from app.pages import templates
from app.routes.images import known
from app.state import Shared, State
from trainer import sources
from trainer.errors import DataError
from trainer.sources import Split

router = APIRouter(include_in_schema=False)

Number = Annotated[Annotated[int, Field(ge=0, le=10**9)] | None, BeforeValidator(lambda value: value or None)]
"""A form sends its empty fields too."""


@router.get("/datasets")
def show_datasets(request: Request, shared: Shared) -> Response:
    data_dir = shared.settings.data_dir
    found = [_summary(dataset, label, shared) for dataset, label in sources.available(data_dir)]
    return templates.TemplateResponse(request, "datasets.html", {"datasets": found, "nav": "data"})


@router.get("/datasets/{dataset}")
def show_dataset(
    request: Request,
    dataset: str,
    shared: Shared,
    split: Split = "train",
    label: Number = None,
    seed: Number = None,
    page: Annotated[int, Query(ge=1, le=10**7)] = 1,
    index: Number = None,
) -> Response:
    """`index` leads to that image's own page: it is what the search field sends."""
    known(dataset)
    if index is not None:
        return RedirectResponse(f"/datasets/{dataset}/{split}/{index}", 303)
    data_dir = shared.settings.data_dir
    query = browse.Query(dataset, split, label, seed, page)
    sets = {name: images.image_set(dataset, name, data_dir) for name in browse.SPLITS}
    context = {
        "query": query,
        "label": sources.label(dataset),
        "splits": browse.SPLITS,
        "sizes": {name: len(found) for name, found in sets.items()},
        "shape": sets[split].images.shape[1:],
        "balance": browse.balance(sets),
        "page": browse.page(sets[split], query, data_dir),
        "means_url": f"/datasets/{dataset}/{split}/means.png?v={sources.version(dataset, data_dir)}",
        "nav": "data",
    }
    return templates.TemplateResponse(request, "dataset.html", context)


@router.get("/datasets/{dataset}/duplicates")
def show_duplicates(request: Request, dataset: str, shared: Shared) -> Response:
    """Validation images that the training images hold too; the first time it is looked for takes seconds."""
    known(dataset)
    context = {
        "dataset": dataset,
        "label": sources.label(dataset),
        "twins": twins.find(shared, dataset),
        "nav": "data",
    }
    return templates.TemplateResponse(request, "duplicates.html", context)


@router.get("/datasets/{dataset}/{split}/{index}")
def show_image(request: Request, dataset: str, split: Split, index: int, shared: Shared) -> Response:
    """One image, large, with its pixel values."""
    known(dataset)
    found = images.image_set(dataset, split, shared.settings.data_dir)
    images.check(found, [index])
    pixels = found.images[index]
    context = {
        "query": browse.Query(dataset, split),
        "label": sources.label(dataset),
        "split_label": browse.SPLITS[split],
        "index": index,
        "last": len(found) - 1,
        "class_name": found.classes[int(found.labels[index])],
        "class_label": int(found.labels[index]),
        "rows": pixels[:, :, 0].tolist() if pixels.shape[2] == 1 else _hexadecimal(pixels),
        "shape": pixels.shape,
        "mean": float(pixels.mean()),
        "image_url": f"/datasets/{dataset}/{split}/images/{index}.png",
        "nav": "data",
    }
    return templates.TemplateResponse(request, "dataset_image.html", context)


def _hexadecimal(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> list[list[str]]:
    """[H, W, C] -> rows of colours such as "ff8000"."""
    return [[pixel.tobytes().hex() for pixel in row] for row in pixels]


def _summary(dataset: str, label: str, shared: State) -> dict[str, object]:
    """What the list shows of a data set; one that cannot be read yet says why."""
    about: dict[str, object] = {"id": dataset, "label": label}
    try:
        sets = {name: images.image_set(dataset, name, shared.settings.data_dir) for name in browse.SPLITS}
    except DataError as error:
        return about | {"problem": str(error)}
    sizes = {browse.SPLITS[name]: len(found) for name, found in sets.items()}
    return about | {"sizes": sizes, "classes": sets["train"].classes, "shape": sets["train"].images.shape[1:]}
