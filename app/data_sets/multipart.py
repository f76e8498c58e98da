"""A plain form with files, taken apart as it comes: each file goes to the disk where it stays, none into memory.

Starlette's own parser spools files into the system's temporary folder first, which may be small, or memory itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.data_sets.pieces import NoSuchUpload, Piece
from app.data_sets.uploads import Upload, Uploads

_LONGEST_FIELD = 8192
_MOST_PARTS = 40


@dataclass(slots=True)
class _Parts:
    """What the parser has found in the bytes so far: (kind, content), to be taken in order."""

    found: list[tuple[str, bytes]] = field(default_factory=list)
    whole: bool = False
    """Whether the form's end has come."""

    def callbacks(self) -> dict[str, object]:
        def data(kind: str) -> object:
            return lambda content, start, end: self.found.append((kind, content[start:end]))

        def mark(kind: str) -> object:
            return lambda: self.found.append((kind, b""))

        return {
            "on_header_field": data("header"),
            "on_header_value": data("value"),
            "on_header_end": mark("known"),
            "on_headers_finished": mark("begin"),
            "on_part_data": data("data"),
            "on_part_end": mark("end"),
            "on_end": self.end,
        }

    def end(self) -> None:
        self.whole = True


@dataclass(slots=True)
class _Form:
    """The form as it is put together."""

    uploads: Uploads
    upload: Upload
    left: int
    """Bytes that its files may still have."""
    fields: dict[str, str] = field(default_factory=dict)
    header: bytes = b""
    value: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    text: bytes = b""
    piece: Piece | None = None
    parts: int = 0

    def take(self, kind: str, content: bytes) -> None:
        """Raises what `Uploads` raises, and HTTPException for a form that is none of ours."""
        getattr(self, f"_{kind}")(content)

    def _header(self, content: bytes) -> None:
        """Names and values come in as many pieces as the network has cut them into."""
        self.header += content

    def _value(self, content: bytes) -> None:
        self.value += content

    def _known(self, _: bytes) -> None:
        self.headers[self.header.lower()] = self.value
        self.header = self.value = b""

    def _begin(self, _: bytes) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        self.headers, self.parts = {}, self.parts + 1
        if self.parts > _MOST_PARTS:
            raise HTTPException(400, "The form has too many fields.")
        self.name = options.get(b"name", b"").decode(errors="replace")
        self.text, self.piece = b"", None
        # A file field that was left empty comes without a name.
        if options.get(b"filename"):
            filename = options[b"filename"].decode(errors="replace")
            self.piece = self.uploads.add(self.upload.id, filename, self.left)

    def _data(self, content: bytes) -> None:
        if self.piece:
            self.piece.write(content)
            return
        self.text += content
        if len(self.text) > _LONGEST_FIELD:
            raise HTTPException(413, f"The field {self.name[:40]} is too long.")

    def _end(self, _: bytes) -> None:
        if self.piece:
            self.left -= self.piece.end(whole=True).offset
            self.piece = None
        else:
            self.fields[self.name] = self.text.decode(errors="replace")


async def receive_form(request: Request, uploads: Uploads, who: str) -> Upload:
    """The upload that a posted form makes, called by its field `name`. Nothing of it stays where this raises.

    Raises `FormError` and what `Uploads` raises; HTTPException for a form that cannot be taken apart.
    """
    length = int(request.headers.get("content-length", 0))
    upload = await run_in_threadpool(uploads.open, length, who=who)
    try:
        form = _Form(uploads, upload, left=uploads.limit)
        async for block in _blocks(request):
            await run_in_threadpool(_take_all, form, block)
        return await run_in_threadpool(uploads.settle, upload.id, form.fields.get("name", ""))
    except BaseException:
        # Beside the loop, since it may be gigabytes; and to its end, though whoever sent it may be gone.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(_discard, uploads, upload.id)
        raise


def _discard(uploads: Uploads, upload_id: str) -> None:
    with contextlib.suppress(NoSuchUpload):  # somebody else has discarded it
        uploads.remove(upload_id)


def _take_all(form: _Form, found: list[tuple[str, bytes]]) -> None:
    for kind, content in found:
        form.take(kind, content)


async def _blocks(request: Request) -> AsyncIterator[list[tuple[str, bytes]]]:
    _, options = parse_options_header(request.headers.get("content-type"))
    parts = _Parts()
    try:
        parser = MultipartParser(options.get(b"boundary", b""), parts.callbacks())  # type: ignore[arg-type]
        async for data in request.stream():
            parser.write(data)
            found, parts.found = parts.found, []
            yield found
    except FormParserError as error:
        raise HTTPException(400, f"The form cannot be read: {error}") from error
    if not parts.whole:
        raise HTTPException(400, "The form is cut short.")
