"""What a file is, by its first bytes, and whether its name says the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from trainer.errors import IngestError
from trainer.ingest.contract import KINDS, Upload
from trainer.ingest.opening import opened

_ENDINGS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".npz": "npz",
    ".zip": "archive", ".tar": "archive", ".tgz": "archive",
}  # fmt: skip
_OTHERS = {
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image", b"BM": "a BMP image",
    b"%PDF": "a PDF", b"PK\x05\x06": "an empty zip file", b"\x93NUMPY": "a single NumPy array (.npy)",
    b"Rar!": "a RAR archive", b"7z\xbc\xaf": "a 7z archive", b"\x89HDF": "an HDF5 file", b"PAR1": "a Parquet file",
    b"\x80\x04": "a Python pickle", b"\x80\x05": "a Python pickle", b"SQLi": "a database", b"\x7fELF": "a program",
    b"BZh": "packed with bzip2", b"\xfd7zX": "packed with xz",
}  # fmt: skip
_TAR_MAGIC = 257
_WANTED = "CSV, zip or tar of image folders, NumPy (.npz) and IDX files are taken."


def kind_of(files: Sequence[Upload]) -> str:
    """The one kind of all of them. Raises `IngestError`."""
    found = {upload.filename: _kind(upload) for upload in files}
    if len(set(found.values())) > 1:
        named = ", ".join(f"{name}: {KINDS[kind]}" for name, kind in found.items())
        raise IngestError(f"These files do not belong together ({named}). Bring them one by one.")
    return next(iter(found.values()))


def _kind(upload: Upload) -> str:
    if upload.size == 0:
        raise IngestError("is empty.", file=upload.filename)
    kind = _by_content(upload)
    ending = PurePath(upload.filename.lower().removesuffix(".gz")).suffix
    said = _ENDINGS.get(ending)
    if said and said != kind:
        raise IngestError(f"is not what its name says: it looks like {KINDS[kind]}.", file=upload.filename)
    return kind


def _by_content(upload: Upload) -> str:
    with opened(upload) as file:
        head = file.read(512)
    for magic, words in _OTHERS.items():
        if head.startswith(magic):
            raise IngestError(f"is {words}. {_WANTED}", file=upload.filename)
    if head[:4] == b"PK\x03\x04":
        return "npz" if _holds_arrays(upload.path) else "archive"
    if head[_TAR_MAGIC : _TAR_MAGIC + 5] == b"ustar":
        return "archive"
    if head[:3] in (b"\0\0\x08", b"\0\0\x0d", b"\0\0\x0e", b"\0\0\x0b", b"\0\0\x0c", b"\0\0\x09"):
        return "idx"
    return "csv"


def _holds_arrays(path: Path) -> bool:
    """Whether a zip's first entry is a NumPy array."""
    with path.open("rb") as file:
        head = file.read(30)
        name = file.read(int.from_bytes(head[26:28], "little"))
    return name.endswith(b".npy")
