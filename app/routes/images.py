"""Images of the data sets: single ones, and sprites for grids."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from starlette.responses import Response

from app import images
from app.images import MOST_IN_SPRITE
from app.routes.assets import FOR_EVER
from app.state import Shared
from trainer.config import OPTIONS
from trainer.sources import ImageSet, Split

router = APIRouter(include_in_schema=False)

_NAMES = {name for name, _ in OPTIONS["dataset"].choices}


@router.get("/datasets/{dataset}/{split}/sprite.png")
def sprite(dataset: str, split: Split, indices: Annotated[str, Query(max_length=4000)], shared: Shared) -> Response:
    """The images at `indices` (numbers and commas), ten a row."""
    numbers = indices.split(",")
    if len(numbers) > MOST_IN_SPRITE or not all(n.isascii() and n.isdigit() and len(n) < 12 for n in numbers):
        raise HTTPException(422, f"indices: numbers with commas between, at most {MOST_IN_SPRITE}")
    return _png(images.sprite(_images(dataset, split, shared), [int(n) for n in numbers]))


@router.get("/datasets/{dataset}/{split}/images/{index}.png")
def single(dataset: str, split: Split, index: int, shared: Shared) -> Response:
    return _png(images.single(_images(dataset, split, shared), index))


def _images(dataset: str, split: Split, shared: Shared) -> ImageSet:
    if dataset not in _NAMES:
        raise HTTPException(404)
    return images.image_set(dataset, split, shared.settings.data_dir)


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers={"Cache-Control": FOR_EVER})
