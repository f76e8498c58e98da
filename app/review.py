"""What is shown of an upload before it is a data set: how it was understood, in fields that may be corrected."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app import images
from app.browse import Balance
from app.forms import Field, FormError
from app.images import Grid
from app.intake import READY, Reading
from app.uploads import File, Upload
from trainer.errors import ConfigError
from trainer.ingest.contract import DELIMITERS, KINDS, LAYOUTS, Choices
from trainer.packing import unpack
from trainer.sources import ImageSet, Split
from trainer.store import NAME

MOST_CLASSES_SHOWN = 100
_DECIDE_CLASSES = frozenset(("kind", "val_file", "delimiter", "header", "label"))
"""What may change which classes there are: their names are then guessed anew."""
MOST_CLASSES_NAMED = 400
"""So many names can still be changed by hand."""
SAMPLES_A_CLASS, SAMPLES = 4, 40
_SPLIT_WORD = {"train": "training", "val": "validation", "unused": "not used"}
_TABS = {",": "comma", ";": "semicolon", "\t": "tab"}


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
        fields=_fields(upload, reading, at_field | dict(errors)),
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


def choices(values: Mapping[str, str], reading: Reading) -> dict[str, Any]:
    """What a posted form corrects, as `Choices` takes it; what it leaves as it was guessed stays a guess.

    Raises `FormError`.
    """
    guessed = _effective(reading)
    if values.get("kind", guessed.get("kind")) != guessed.get("kind"):
        # Read as another kind, nothing that was said about the first means anything.
        wanted: dict[str, Any] = {"kind": values["kind"]}
        errors: dict[str, str] = {}
    else:
        changed, errors = _changed(values, guessed | _classes(reading))
        wanted = dict(reading.choices) | changed
        if changed.keys() & _DECIDE_CLASSES and "classes" not in changed:
            wanted.pop("classes", None)
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not errors:
        try:
            Choices.from_dict(wanted)
        except ConfigError as error:
            errors = error.errors
    if errors:
        raise FormError(errors)
    return wanted


def _changed(values: Mapping[str, str], guessed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The choices that differ from what was guessed, and errors by field."""
    changed, errors = {}, {}
    for name, parse in _PARSED.items():
        if name not in values:
            continue
        try:
            value = parse(values[name])
        except ValueError as error:
            errors[name] = str(error)
            continue
        if value != _listed(guessed.get(name)):
            changed[name] = value
    return changed, errors


def _classes(reading: Reading) -> dict[str, Any]:
    """The classes' names, as the form shows them."""
    told = reading.converted or reading.guess
    return {"classes": list(told["classes"])} if told else {}


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
    kind = _effective(reading).get("kind")
    return str(kind) if kind else None


def _effective(reading: Reading) -> dict[str, Any]:
    """The choices as they were applied, guessed and said."""
    if reading.guess:
        return dict(reading.guess["choices"])
    return (reading.before["choices"] if reading.before else {}) | reading.choices


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _fields(upload: Upload, reading: Reading, errors: Mapping[str, str]) -> list[Field]:
    """Those that mean something for this kind of files."""
    known, unsure = _effective(reading), (reading.guess or {}).get("unsure", {})
    kind, guess = known.get("kind"), reading.guess or reading.before

    def field(name: str, label: str, words: str, value: str, options: Any = (), kind: str = "text") -> Field:
        kind = "choice" if options else kind
        return Field(
            name, label, unsure.get(name) or words, kind, value, errors.get(name), list(options), asked=name in unsure
        )

    found = [field("kind", "Kind of file", "", kind or "", [*([] if kind else [("", "Choose")]), *KINDS.items()])]
    if guess is None or guess["choices"]["kind"] != kind:
        table = kind == "csv" or (kind is None and upload.files[0].filename.lower().endswith((".csv", ".tsv", ".txt")))
        return found + (_bare_csv_fields(field, known) if table else [])
    if len(upload.files) > 1 and known.get("val_file") is not None and kind == "csv":
        files = [(item.filename, item.filename) for item in upload.files]
        found.append(field("val_file", "File for validation", "", known["val_file"], files))
    found += _CHOSEN_BY_KIND[kind](field, known, guess) if kind in _CHOSEN_BY_KIND else []
    if not any(part["role"] == "val" for part in guess["parts"]):
        fraction = known.get("val_fraction")
        shown = f"{100 * fraction:g}" if fraction else "16.7"
        words = "Per cent of each class that are held back."
        found += [
            field("val_fraction", "For validation, %", words, shown),
            field("seed", "Seed of the split", "Another seed holds back other images.", str(known.get("seed", 0))),
        ]
    classes = reading.converted["classes"] if reading.converted else []
    if reading.stage == READY and len(classes) <= MOST_CLASSES_NAMED:
        words = "One a line, in this order. Change what they are called here."
        found.append(field("classes", "Class names", words, "\n".join(classes), kind="textarea"))
    return found


def _csv_fields(field: Any, known: Mapping[str, Any], guess: Mapping[str, Any]) -> list[Field]:
    columns = [(str(place), name) for place, name in _columns(guess, known)]
    header = [("true", "Yes"), ("false", "No")]
    h, w, c = guess["shape"]
    found = [
        field("delimiter", "Separator", "", _TABS[known["delimiter"]], [(_TABS[k], v) for k, v in DELIMITERS.items()]),
        field("header", "First line names the columns", "", str(bool(known["header"])).lower(), header),
        field("label", "Column of the class", "", str(known["label"]), columns),
        field("shape", "Image shape", "Height x width, or height x width x 3 in colour.", f"{h}x{w}x{c}"),
    ]
    if c == 3:
        found.append(field("layout", "Order of the colours", "", known["layout"] or "", LAYOUTS.items()))
    return found


def _bare_csv_fields(field: Any, known: Mapping[str, Any]) -> list[Field]:
    """Of a table in which nothing could be told apart yet: what its lines are made of."""
    guess = [("", "Guess it")]
    delimiters = [(_TABS[char], words) for char, words in DELIMITERS.items()]
    header = known.get("header")
    return [
        field("delimiter", "Separator", "", _TABS.get(known.get("delimiter") or "", ""), [*guess, *delimiters]),
        field(
            "header",
            "First line names the columns",
            "",
            "" if header is None else str(header).lower(),
            [*guess, ("true", "Yes"), ("false", "No")],
        ),
    ]


def _columns(guess: Mapping[str, Any], known: Mapping[str, Any]) -> list[tuple[int, str]]:
    """The columns to choose the class from: the first ones, and the last."""
    names = list(guess["columns"])
    h, w, c = guess["shape"]
    last = h * w * c
    places = [*range(len(names) - 1), max(last, len(names) - 1)] if names else []
    found = [(place, f"{name[:40]} ({place + 1})") for place, name in zip(places, names, strict=True)]
    if known["label"] not in dict(found):
        found.append((known["label"], f"Column {known['label'] + 1}"))
    return found


def _archive_fields(field: Any, known: Mapping[str, Any], guess: Mapping[str, Any]) -> list[Field]:
    h, w, c = guess["shape"]
    colours = [("grey", "Grey"), ("colour", "Colour")]
    return [
        field("size", "Image size", "Height x width that all images are brought to.", f"{h}x{w}"),
        field("channels", "Colours", "", known.get("channels") or ("grey" if c == 1 else "colour"), colours),
    ]


def _array_fields(field: Any, known: Mapping[str, Any], guess: Mapping[str, Any]) -> list[Field]:
    if not known.get("layout"):
        return []
    options = [("interleaved", "Channels last: [N, H, W, C]"), ("planar", "Channels first: [N, C, H, W]")]
    return [field("layout", "Order of the colours", "", known["layout"], options)]


_CHOSEN_BY_KIND = {"csv": _csv_fields, "archive": _archive_fields, "npz": _array_fields, "idx": _array_fields}


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


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text.strip()):
        raise ValueError("Must be a whole number.")
    return int(text)


def _per_cent(text: str) -> float | None:
    try:
        share = round(float(text) / 100, 6)
    except ValueError:
        raise ValueError("Must be a number of per cent, such as 20.") from None
    if not 0 < share < 1:
        raise ValueError("Must be more than 0 and less than 100.")
    return None if text.strip() == "16.7" else share


def _sides(text: str, counts: tuple[int, ...]) -> list[int]:
    parts = re.split(r"\s*[x×*]\s*", text.strip().lower())
    if len(parts) not in counts or not all(re.fullmatch(r"[0-9]{1,5}", part) for part in parts):
        raise ValueError("Must be height x width, such as 28x28.")
    return [int(part) for part in parts]


def _shape(text: str) -> list[int]:
    sides = _sides(text, (2, 3))
    return sides if len(sides) == 3 else [*sides, 1]


_PARSED: dict[str, Any] = {
    "kind": lambda text: text or None,
    "val_file": str,
    "delimiter": lambda text: next((char for char, name in _TABS.items() if name == text), text or None),
    "header": lambda text: {"true": True, "false": False}.get(text, text or None),
    "label": _whole,
    "shape": _shape,
    "layout": lambda text: text or None,
    "size": lambda text: _sides(text, (2,)),
    "channels": str,
    "val_fraction": _per_cent,
    "seed": _whole,
    "classes": lambda text: [line.strip() for line in text.strip().splitlines()],
}
