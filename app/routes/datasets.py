"""Pages of the data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator, Field
from starlette.responses import RedirectResponse, Response

from app.actions import Form
from app.data_sets import datasets
from app.data_sets.datasets import DataSetDetailOut, DataSetOut
from app.forms import FormError
from app.guarding.access import Who
from app.looking import browse, images, twins
from app.pages import templates
from app.routes.datasets_api import found_or_404
from app.routes.images import known
from app.runs import RunStateError
from app.state import Shared, State
from trainer import sources
from trainer.sources import Split

router = APIRouter(include_in_schema=False)

Number = Annotated[Annotated[int, Field(ge=0, le=10**9)] | None, BeforeValidator(lambda value: value or None)]
"""A form sends its empty fields too."""


@router.get("/datasets")
def show_datasets(request: Request, shared: Shared) -> Response:
    data_dir = shared.settings.data_dir
    with shared.db.read() as session:
        counts = datasets.counted_uses(session)
    groups = datasets.grouped(data_dir)
    strips = {item.id: _strip(item, data_dir) for _, items in groups for item in items if not item.problem}
    context = {"groups": groups, "counts": counts, "strips": strips, "nav": "data"}
    return templates.TemplateResponse(request, "datasets.html", context)


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
    about = found_or_404(dataset, shared)
    if index is not None:
        return RedirectResponse(f"/datasets/{dataset}/{split}/{index}", 303)
    if about.id != dataset:
        return RedirectResponse(f"/datasets/{about.id}", 303)
    data_dir = shared.settings.data_dir
    query = browse.Query(dataset, split, label, seed, page)
    sets = {name: images.image_set(dataset, name, data_dir) for name in browse.SPLITS}
    context = {
        "query": query,
        "about": about,
        "label": about.label,
        "card": datasets.CARD,
        "values": about.model_dump(),
        "errors": {},
        "splits": browse.SPLITS,
        "sizes": {name: len(found) for name, found in sets.items()},
        "shape": sets[split].images.shape[1:],
        "balance": browse.balance(sets),
        "page": browse.page(sets[split], query, data_dir),
        "means_url": f"/datasets/{dataset}/{split}/means.png?v={sources.version(dataset, data_dir)}",
        "nav": "data",
    }
    return templates.TemplateResponse(request, "dataset.html", context)


@router.post("/datasets/{dataset}/card")
def change_card(request: Request, dataset: str, values: Form, shared: Shared, who: Who) -> Response:
    """What is said of the data set."""
    about = found_or_404(dataset, shared)
    try:
        datasets.describe(shared, about.id, values, who)
    except FormError as error:
        context = {"about": about, "card": datasets.CARD, "values": values, "errors": error.errors, "nav": "data"}
        return templates.TemplateResponse(request, "dataset_card.html", context, status_code=422)
    return RedirectResponse(f"/datasets/{about.id}", 303)


@router.get("/datasets/{dataset}/delete")
def confirm_removal(request: Request, dataset: str, shared: Shared) -> Response:
    """Which runs would lose their images."""
    return _removal_page(request, shared, found_or_404(dataset, shared), "")


@router.post("/datasets/{dataset}/delete")
def remove(request: Request, dataset: str, values: Form, shared: Shared, who: Who) -> Response:
    """Remove it; the form says which runs were listed when it was shown."""
    about = found_or_404(dataset, shared)
    try:
        datasets.remove(shared, about.id, who, breaks=datasets.run_ids(values.get("breaks", "")))
    except (datasets.InUse, RunStateError) as error:
        return _removal_page(request, shared, about, str(error))
    return RedirectResponse("/datasets", 303)


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


def _removal_page(request: Request, shared: State, about: DataSetDetailOut, problem: str) -> Response:
    with shared.db.read() as session:
        uses = datasets.uses(session, about.id)
    context = {
        "about": about,
        "uses": uses,
        "living": [use for use in uses if not use.status.over],
        "problem": problem,
        "nav": "data",
    }
    return templates.TemplateResponse(request, "dataset_delete.html", context, status_code=409 if problem else 200)


def _hexadecimal(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> list[list[str]]:
    """[H, W, C] -> rows of colours such as "ff8000"."""
    return [[pixel.tobytes().hex() for pixel in row] for row in pixels]


def _strip(item: DataSetOut, data_dir: Path) -> str:
    """The address of its first images side by side."""
    numbers = ",".join(map(str, range(min(images.GRID_COLUMNS, item.train or 0))))
    version = item.sha256[:12] if item.sha256 else sources.version(item.id, data_dir)
    return f"/datasets/{item.id}/train/sprite.png?v={version}&indices={numbers}"
