"""Uploads by JSON: announce, send in pieces, resume, discard. The protocol follows tus 1.0 (https://tus.io)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.actions import JsonObject
from app.data_sets import datasets
from app.data_sets.datasets import DataSetOut
from app.data_sets.pieces import Checksum, File, Piece
from app.forms import FormError
from app.guarding.access import Who
from app.schemas import Problem, UploadOut
from app.state import Shared

router = APIRouter(
    prefix="/api/v1",
    responses={status: {"model": Problem} for status in (404, 422)},
    generate_unique_id_function=lambda route: route.name,
)

PIECE = "application/offset+octet-stream"
_AT_ONCE = 1 << 20
"""Bytes that are gathered before they are written."""


_ANNOUNCEMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "example": {"name": "shoes", "files": [{"filename": "train.csv", "size": 133047193}]},
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "description": "What the data set is to be called."},
                        "files": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["filename", "size"],
                                "properties": {
                                    "filename": {"type": "string"},
                                    "size": {"type": "integer", "minimum": 1, "description": "Bytes."},
                                    "sha256": {"type": "string", "description": "Checked when all of it is here."},
                                },
                            },
                        },
                    },
                },
            }
        },
    }
}


@router.post(
    "/uploads",
    status_code=201,
    openapi_extra=_ANNOUNCEMENT,
    responses={status: {"model": Problem} for status in (413, 429, 507)},
)
def announce_upload(values: JsonObject, response: Response, shared: Shared, who: Who) -> UploadOut:
    """Announce files: their names and sizes, and best their SHA-256. The answer says where to send each."""
    files, name = values.get("files"), values.get("name", "")
    errors = {key: "Is no part of an upload." for key in values if key not in ("files", "name")}
    if not isinstance(files, list) or not all(isinstance(item, dict) for item in files):
        errors["files"] = "Must be a list of objects with filename and size."
    if not isinstance(name, str):
        errors["name"] = "Must be text."
    if errors:
        raise FormError(errors)
    upload = shared.uploads.create(files or [], name=name, who=who)
    response.headers["Location"] = f"/api/v1/uploads/{upload.id}"
    return UploadOut.of(upload)


@router.get("/uploads")
def list_uploads(shared: Shared) -> list[UploadOut]:
    """Uploads that are not a data set yet, oldest first."""
    return [UploadOut.of(upload) for upload in shared.uploads.all()]


@router.get("/uploads/{upload_id}")
def get_upload(upload_id: str, shared: Shared) -> UploadOut:
    """One upload, and what was found in its files so far."""
    return UploadOut.of(shared.uploads.get(upload_id), shared.intake.reading(upload_id))


@router.delete("/uploads/{upload_id}", status_code=204)
def discard_upload(upload_id: str, shared: Shared) -> None:
    """Remove an upload and all that was received of it."""
    shared.intake.discard(upload_id)


@router.post("/uploads/{upload_id}/preview", status_code=202, responses={409: {"model": Problem}})
def read_upload(upload_id: str, choices: JsonObject, shared: Shared) -> UploadOut:
    """Read it anew with these choices (an empty object: all guessed); ask for it again to see what was found."""
    reading = shared.intake.read(upload_id, choices)
    return UploadOut.of(shared.uploads.get(upload_id), reading)


@router.post("/uploads/{upload_id}/accept", status_code=201, responses={409: {"model": Problem}})
def accept_upload(upload_id: str, values: JsonObject, response: Response, shared: Shared, who: Who) -> DataSetOut:
    """Keep it as the next version of `name`, with `source`, `licence` and `notes`; 200 where it was kept already."""
    kept, new = datasets.keep(shared, upload_id, values, who)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/api/v1/datasets/{kept.id}"
    return kept


@router.head("/uploads/{upload_id}/files/{number}/content", status_code=200)
def ask_offset(upload_id: str, number: int, shared: Shared) -> Response:
    """Where to go on with a file: `Upload-Offset`, and the CRC-32 of the bytes before it."""
    return Response(headers=_where(shared.uploads.resume(upload_id, number)))


@router.patch(
    "/uploads/{upload_id}/files/{number}/content",
    status_code=204,
    openapi_extra={
        "requestBody": {"required": True, "content": {PIECE: {"schema": {"type": "string", "format": "binary"}}}}
    },
    responses={status: {"model": Problem} for status in (409, 413, 415, 507)},
)
async def send_piece(
    request: Request,
    upload_id: str,
    number: int,
    shared: Shared,
    offset: Annotated[int, Header(alias="Upload-Offset", ge=0, lt=2**53)],
    checksum: Annotated[str | None, Header(alias="Upload-Checksum", max_length=80)] = None,
) -> Response:
    """Append to a file at `Upload-Offset`; with `Upload-Checksum`, only if it arrives as it was sent."""
    if request.headers.get("content-type") != PIECE:
        raise FormError({"Content-Type": f"Must be {PIECE}."})
    expected = Checksum.of(checksum) if checksum is not None else None
    piece = await run_in_threadpool(shared.uploads.begin, upload_id, number, offset, expected)
    try:
        await receive(piece, request.stream())
    except ClientDisconnect:
        # Nobody is left to read an answer; what may be kept has been.
        return Response(status_code=400)
    return Response(status_code=204, headers=_where(await run_in_threadpool(piece.end, whole=True)))


async def receive(piece: Piece, stream: AsyncIterator[bytes]) -> None:
    """Write a body as it comes, a little of it in memory. However it breaks off, the piece has ended then."""
    try:
        async for data in _gathered(stream):
            await run_in_threadpool(piece.write, data)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(piece.end, whole=False)
        raise


async def _gathered(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger parts, and the last of them also where the sender is gone."""
    waiting = bytearray()
    try:
        async for data in stream:
            waiting += data
            if len(waiting) >= _AT_ONCE:
                yield bytes(waiting)
                waiting.clear()
    except ClientDisconnect:
        if waiting:
            yield bytes(waiting)
        raise
    if waiting:
        yield bytes(waiting)


def _where(file: File) -> dict[str, str]:
    return {
        "Upload-Offset": str(file.offset),
        "Upload-Length": str(file.size),
        "Upload-Checksum": f"crc32 {file.crc32:08x}",
        "Cache-Control": "no-store",
    }
