"""Images of the data sets: single ones, and sprites for grids."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from app.looking import browse, images
from app.looking.images import MOST_IN_SPRITE
from app.routes.assets import FOR_EVER
from app.state import Shared
from trainer.config import OPTIONS
from trainer.sources import ImageSet, Split

router = APIRouter(include_in_schema=False)

Shape = Annotated[str | None, Query(max_length=20, pattern=OPTIONS["csv_shape"].pattern)]


@router.get("/datasets/{dataset}/{split}/sprite.png")
def sprite(
    request: Request,
    dataset: str,
    split: Split,
    indices: Annotated[str, Query(max_length=4000)],
    shared: Shared,
    shape: Shape = None,
) -> Response:
    """The images at `indices` (numbers and commas), ten a row; `v` in the address only tells versions apart."""
    numbers = indices_of(indices)
    return _png(request, images.sprite(_images(dataset, split, shape, shared), numbers))


@router.get("/datasets/{dataset}/{split}/means.png")
def means(request: Request, dataset: str, split: Split, shared: Shared) -> Response:
    """The mean image of each class, ten a row."""
    known(dataset)
    return _png(request, browse.means(dataset, split, shared.settings.data_dir))


@router.get("/datasets/{dataset}/{split}/images/{index}.png")
def single(request: Request, dataset: str, split: Split, index: int, shared: Shared, shape: Shape = None) -> Response:
    return _png(request, images.single(_images(dataset, split, shape, shared), index))


def indices_of(text: str) -> list[int]:
    """Numbers with commas between. Raises a 422 for anything else."""
    numbers = text.split(",")
    if len(numbers) > MOST_IN_SPRITE or not all(n.isascii() and n.isdigit() and len(n) < 12 for n in numbers):
        raise HTTPException(422, f"indices: numbers with commas between, at most {MOST_IN_SPRITE}")
    return [int(n) for n in numbers]


def known(dataset: str) -> None:
    """Raises a 404 for what cannot be a data set's id."""
    if OPTIONS["dataset"].check(dataset) is not None:
        raise HTTPException(404)


def _images(dataset: str, split: Split, shape: str | None, shared: Shared) -> ImageSet:
    known(dataset)
    return images.image_set(dataset, split, shared.settings.data_dir, shape)


def _png(request: Request, content: bytes) -> Response:
    """Kept for ever; who reloads on purpose learns by the ETag that nothing has changed."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": FOR_EVER, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)
