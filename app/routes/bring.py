"""Pages on which a person brings data of their own: the upload, and what became of it before it is kept."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response

from app.actions import Form
from app.data_sets import corrections, datasets, review
from app.data_sets.multipart import receive_form
from app.data_sets.pieces import NotYet, UploadError
from app.data_sets.uploads import MOST_FILES
from app.forms import FormError
from app.guarding.access import Who
from app.looking import images
from app.pages import templates
from app.routes.images import indices_of
from app.schemas import UploadOut
from app.state import Shared, State
from trainer.errors import DataError
from trainer.sources import ImageSet, Split
from trainer.store import Store

router = APIRouter(include_in_schema=False)


@router.get("/datasets/new")
def show_new(request: Request, shared: Shared) -> Response:
    return _new_page(request, shared, {})


@router.post("/datasets/upload")
async def upload_form(request: Request, shared: Shared, who: Who) -> Response:
    """All files in one request: what a browser without scripts can do."""
    try:
        upload = await receive_form(request, shared.uploads, who)
    except FormError as error:
        return _new_page(request, shared, error.errors, 422)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is left to read it
    except UploadError as error:
        return _new_page(request, shared, {"files": str(error)}, error.status)
    return RedirectResponse(f"/datasets/uploads/{upload.id}", 303)


@router.post("/datasets/fetch/{name}")
def fetch(name: str, shared: Shared, who: Who) -> Response:
    """Begin to download a well-known set."""
    datasets.fetch(shared, name, who)
    return RedirectResponse("/datasets/new#known", 303)


@router.get("/datasets/uploads/{upload_id}")
def show_upload(request: Request, upload_id: str, shared: Shared) -> Response:
    return _upload_page(request, shared, upload_id, {}, {})


@router.post("/datasets/uploads/{upload_id}")
def correct(request: Request, upload_id: str, values: Form, shared: Shared) -> Response:
    """Read it anew, as the form says."""
    reading = shared.intake.reading(upload_id)
    if reading is None:
        raise NotYet("Not all of its files are here yet.")
    try:
        shared.intake.read(upload_id, {} if "again" in values else corrections.choices(values, reading))
    except FormError as error:
        return _upload_page(request, shared, upload_id, {}, error.errors)
    return RedirectResponse(f"/datasets/uploads/{upload_id}", 303)


@router.post("/datasets/uploads/{upload_id}/keep")
def keep(request: Request, upload_id: str, values: Form, shared: Shared, who: Who) -> Response:
    """Make a data set of it."""
    try:
        kept, _ = datasets.keep(shared, upload_id, values, who)
    except FormError as error:
        return _upload_page(request, shared, upload_id, values, error.errors)
    return RedirectResponse(f"/datasets/{kept.id}", 303)


@router.post("/datasets/uploads/{upload_id}/discard")
def discard(upload_id: str, shared: Shared) -> Response:
    shared.intake.discard(upload_id)
    return RedirectResponse("/datasets/new", 303)


@router.get("/datasets/uploads/{upload_id}/sample.png")
def show_sample(upload_id: str, shared: Shared) -> Response:
    """The images of the first look."""
    reading = shared.intake.reading(upload_id)
    if reading is None or reading.guess is None:
        raise NotYet("It has not been looked at yet.")
    found = review.sample(reading)
    return _png(images.sprite(found, range(len(found))))


@router.get("/datasets/uploads/{upload_id}/{split}/sprite.png")
def show_sprite(
    upload_id: str, split: Split, indices: Annotated[str, Query(max_length=4000)], shared: Shared
) -> Response:
    """Images of what was read, before it is kept."""
    folder = shared.intake.converted(upload_id)
    try:
        pixels = np.load(folder / f"{split}-images.npy", mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError("It is being read anew.") from error
    found = ImageSet(pixels, np.zeros(len(pixels), np.int64), ("",))
    return _png(images.sprite(found, indices_of(indices)))


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _new_page(request: Request, shared: State, errors: dict[str, str], status: int = 200) -> Response:
    uploads = shared.uploads.all()
    context = {
        "errors": errors,
        "limit": shared.settings.upload_limit,
        "most_files": MOST_FILES,
        "known": shared.fetching.known(),
        "uploads": [item for item in uploads if item.complete or not item.plain],
        "unfinished": [UploadOut.of(item) for item in uploads if not item.complete and not item.plain],
        "nav": "data",
    }
    return templates.TemplateResponse(request, "dataset_new.html", context, status_code=status)


def _upload_page(
    request: Request, shared: State, upload_id: str, values: dict[str, Any], errors: dict[str, str]
) -> Response:
    upload, reading = shared.uploads.get(upload_id), shared.intake.reading(upload_id)
    if reading is None:
        return RedirectResponse("/datasets/new", 303)
    shown = review.of(upload, reading, errors)
    content = (reading.converted or {}).get("content")
    placed = {*datasets.CARD, "name", *(item.name for item in shown.fields)}
    context = {
        "upload": upload,
        "review": shown,
        "same": Store(shared.settings.data_dir).find(content) if content else None,
        "unplaced": [text for name, text in errors.items() if name not in placed],
        "values": {"name": review.name_for(upload)} | values,
        "card": datasets.CARD,
        "errors": errors,
        "nav": "data",
    }
    return templates.TemplateResponse(request, "upload.html", context, status_code=422 if errors else 200)
