"""What is shown of an upload before it is a data set: how it was understood, in fields that may be corrected."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.data_sets import corrections
from app.data_sets.intake import READY, Reading
from app.data_sets.pieces import File
from app.data_sets.uploads import Upload
from app.forms import Field
from app.looking import images
from app.looking.browse import Balance
from app.looking.images import Grid
from trainer.ingest.contract import KINDS
from trainer.packing import unpack
from trainer.sources import ImageSet, Split
from trainer.store import NAME

MOST_CLASSES_SHOWN = 100
SAMPLES_A_CLASS, SAMPLES = 4, 40
_SPLIT_WORD = {"train": "training", "val": "validation", "unused": "not used"}


@dataclass(frozen=True, slots=True)
class FileShown:
    file: File
    role: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning, and images that show it."""

    message: str
    grid: Grid | None


@dataclass(frozen=True, slots=True)
class Review:
    reading: Reading
    files: list[FileShown]
    parts: list[str]
    """What was found inside the files, and what it is taken for."""
    problem: str
    """What is wrong, where it belongs to none of the files."""
    fields: list[Field]
    kind: str
    shape: tuple[int, ...]
    classes: int
    sizes: dict[Split, int]
    balance: list[Balance]
    grid: Grid | None
    warnings: list[Warned]
    notes: list[str]
    share: float | None
    """Of the reading, how much is done."""

    @property
    def unsure(self) -> list[Field]:
        """The fields whose value could not be told from the files."""
        return [item for item in self.fields if item.asked]


def of(upload: Upload, reading: Reading, errors: Mapping[str, str]) -> Review:
    """`errors` are those of the corrections that were just sent, by field."""
    guess, error = reading.guess, reading.error or {}
    filenames = [item.filename for item in upload.files]
    at_file = error.get("file") if error.get("file") in filenames else None
    if error and at_file is None and len(filenames) == 1:
        at_file = filenames[0]
    roles = {part["name"]: _SPLIT_WORD[part["role"]] for part in guess["parts"]} if guess else {}
    files = [
        FileShown(item, roles.get(item.filename, ""), str(error["message"]) if item.filename == at_file else "")
        for item in upload.files
    ]
    at_field = {str(error["field"]): str(error["message"])} if error.get("field") else {}
    ready = reading.stage == READY
    parts = [_part(part) for part in guess["parts"] if part["name"] not in filenames] if guess else []
    return Review(
        reading=reading,
        files=files,
        parts=parts,
        problem=str(error["message"]) if error and at_file is None else "",
        fields=corrections.fields(upload, reading, at_field | dict(errors)),
        kind=KINDS.get(_kind(reading) or "", ""),
        shape=tuple(guess["shape"]) if guess else (),
        classes=len(reading.converted["classes"]) if ready and reading.converted else 0,
        sizes=_sizes(reading) if ready else {},
        balance=_balance(reading) if ready else [],
        grid=_samples(upload, reading) if ready else _sample(upload, reading),
        warnings=_warnings(upload, reading) if ready else [],
        notes=[*((reading.converted if ready else guess) or {}).get("notes", [])],
        share=reading.done / reading.total if reading.total else None,
    )


def name_for(upload: Upload) -> str:
    """What the data set may be called: what the sender said, or the first file's name, as far as a name allows."""
    words = upload.name or re.sub(r"(\.(csv|zip|tar|gz|tgz|npz|txt|tsv))+$", "", upload.files[0].filename)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", words).strip("-_")[:64]
    return plain if re.fullmatch(NAME, plain) else "data"


def sample(reading: Reading) -> ImageSet:
    """The images that the guess has shown, which are few."""
    assert reading.guess is not None  # noqa: S101 - asked for only where there is one
    told = reading.guess["sample"]
    labels = np.zeros(len(told["labels"]), np.int64)
    return ImageSet(unpack(told), labels, ("",))


def _part(part: Mapping[str, Any]) -> str:
    count = "" if part["images"] is None else f", {part['images']:,} images"
    return f"{part['name']}: {_SPLIT_WORD[part['role']]}{count}"


def _kind(reading: Reading) -> str | None:
    kind = corrections.effective(reading).get("kind")
    return str(kind) if kind else None


def _sizes(reading: Reading) -> dict[Split, int]:
    assert reading.converted is not None  # noqa: S101 - it is ready
    return {"train": sum(reading.converted["train"]), "val": sum(reading.converted["val"])}


def _balance(reading: Reading) -> list[Balance]:
    assert reading.converted is not None  # noqa: S101 - it is ready
    told = reading.converted
    most: dict[Split, int] = {"train": max(1, *told["train"]), "val": max(1, *told["val"])}
    rows = zip(told["classes"], told["train"], told["val"], strict=True)
    return [
        Balance(label, name, {"train": train, "val": val}, {"train": train / most["train"], "val": val / most["val"]})
        for label, (name, train, val) in enumerate(rows)
    ][:MOST_CLASSES_SHOWN]


def _sample(upload: Upload, reading: Reading) -> Grid | None:
    """The images of the guess, while the whole is being read."""
    if reading.guess is None:
        return None
    labels = reading.guess["sample"]["labels"]
    items = [{"index": place, "class_name": name} for place, name in enumerate(labels)]
    version = zlib.crc32(json.dumps(reading.guess["choices"]).encode())
    h, w, _ = reading.guess["shape"]
    return Grid(f"/datasets/uploads/{upload.id}/sample.png?v={version}", max(h, w), images.GRID_COLUMNS, items)


def _samples(upload: Upload, reading: Reading) -> Grid | None:
    """A few of each class, class by class, from the whole."""
    assert reading.converted is not None  # noqa: S101 - it is ready
    assert reading.findings is not None  # noqa: S101
    names = reading.converted["classes"]
    chosen = [
        ("train", place, names[label])
        for label, places in enumerate(reading.findings["samples"])
        for place in places[:SAMPLES_A_CLASS]
    ][:SAMPLES]
    return _grid(upload, reading, "train", [(place, name) for _, place, name in chosen])


def _warnings(upload: Upload, reading: Reading) -> list[Warned]:
    assert reading.findings is not None  # noqa: S101 - it is ready
    found = []
    for item in reading.findings["warnings"]:
        splits = {split for split, _ in item["places"]}
        split: Split = "val" if splits == {"val"} else "train"
        places = [(place, f"{_SPLIT_WORD[where]} {place}") for where, place in item["places"] if where == split][:10]
        found.append(Warned(item["message"], _grid(upload, reading, split, places) if places else None))
    return found


def _grid(upload: Upload, reading: Reading, split: Split, places: list[tuple[int, str]]) -> Grid:
    assert reading.converted is not None  # noqa: S101 - it is ready
    h, w, _ = reading.converted["shape"]
    numbers = ",".join(str(place) for place, _ in places)
    version = reading.converted["content"][:12]
    address = f"/datasets/uploads/{upload.id}/{split}/sprite.png?v={version}&indices={numbers}"
    items = [{"index": place, "class_name": name} for place, name in places]
    return Grid(address, max(h, w), images.GRID_COLUMNS, items)
