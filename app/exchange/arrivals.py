"""What a person has uploaded to be imported: which kind it is, and archives unpacked without trusting them."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from app.exchange.past import ImportProblem
from app.models import Source

MOST_BYTES = 2 * 1024**3
"""Of an archive's files together, unpacked."""
MOST_FILES = 200_000
_MLFLOW = frozenset({"params", "metrics", "tags"})
_BLOCK = 1 << 20


def recognised(file: Path, name: str, folder: Path) -> tuple[Source, Path]:
    """Kind and place of what was uploaded as `name`; an archive is unpacked below `folder`. Raises `ImportProblem`."""
    with file.open("rb") as content:
        head = content.read(16)
    if head == b"SQLite format 3\0":
        return Source.MLFLOW, file
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        unpack(file, name, folder)
        return _kind_of(folder, name)
    if "tfevents" in name:
        raise ImportProblem(f"{name}: put event files into a .zip, with the folders that they lie in.")
    return Source.CSV, file


def _kind_of(folder: Path, name: str) -> tuple[Source, Path]:
    """The outermost folder that holds something: archives often begin with one folder around everything."""
    if next(folder.rglob("*tfevents*"), None):
        return Source.TENSORBOARD, _inner(folder)
    meta = min(folder.rglob("meta.yaml"), key=lambda file: len(file.parts), default=None)
    if meta is not None:
        return Source.MLFLOW, meta.parent.parent
    database = next(folder.rglob("*.db"), None)
    if database is not None:
        return Source.MLFLOW, database
    raise ImportProblem(f"{name} holds neither TensorBoard's event files nor an MLflow store.")


def _inner(folder: Path) -> Path:
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
        inside = list(folder.iterdir())
    return folder


def unpack(archive: Path, name: str, folder: Path) -> None:
    """The files of a zip that can matter here. Raises `ImportProblem`, and then nothing of it stays.

    Names that lead elsewhere, links and encrypted files are refused; what a file says of its size is not believed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            _unpack(content, folder)
    except ImportProblem as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ImportProblem(f"{name}: {error}") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError, zlib.error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ImportProblem(f"{name} cannot be unpacked: {error}.") from error


def _unpack(content: zipfile.ZipFile, folder: Path) -> None:
    entries = content.infolist()
    if len(entries) > MOST_FILES:
        raise ImportProblem(f"it holds {len(entries):,} files; at most {MOST_FILES:,} are unpacked.")
    folder.mkdir(parents=True)
    left = MOST_BYTES
    for entry in entries:
        path = _safe(entry)
        if not entry.is_dir() and _matters(path):
            left -= _write(content, entry, folder / path, left)


def _safe(entry: zipfile.ZipInfo) -> PurePosixPath:
    shown = entry.filename[:100]
    path = PurePosixPath(entry.filename)
    strange = any(char in entry.filename for char in "\\:\0") or path.is_absolute() or ".." in path.parts
    if strange or not path.parts or max(map(len, path.parts)) > 250:
        raise ImportProblem(f"the name {shown!r} cannot be unpacked.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ImportProblem(f"{shown!r} is a link; only files are unpacked.")
    if entry.flag_bits & 1:
        raise ImportProblem(f"{shown!r} is encrypted.")
    return path


def _matters(path: PurePosixPath) -> bool:
    """Not the artifacts of a run, which may be large: only what tells of it."""
    if "artifacts" in path.parts:
        return False
    return "tfevents" in path.name or path.name == "meta.yaml" or path.suffix == ".db" or bool(_MLFLOW & {*path.parts})


def _write(content: zipfile.ZipFile, entry: zipfile.ZipInfo, file: Path, most: int) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with content.open(entry) as source, file.open("xb") as out:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > most:
                raise ImportProblem(f"it is larger than {MOST_BYTES // 2**30} GB when unpacked.")
            out.write(block)
    return written
