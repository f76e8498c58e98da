"""What goes into the readers and what comes out of them, as plain values that travel between processes as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainer.errors import ConfigError

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Progress = Callable[[int, int], None]
"""Called with (done, total), both in the bytes of the files, now and then."""

KINDS = {
    "csv": "Table (CSV)",
    "archive": "Folders of images (zip, tar)",
    "npz": "NumPy (.npz)",
    "idx": "IDX (MNIST's format)",
}
DELIMITERS = {",": "Comma", ";": "Semicolon", "\t": "Tab"}
LAYOUTS = {"interleaved": "A pixel's colours side by side", "planar": "One whole colour after the other"}
CHANNELS = {"grey": 1, "colour": 3}
FITS = {"crop": "Cut to the middle", "pad": "Pad with black", "stretch": "Stretch"}

MOST_SIDE = 512
"""Pixels a side of the largest image that is kept; a run takes at most 224."""
MOST_READ_SIDE = 2048
"""Of the largest in a table or array, which is resized; image files may be larger."""
MOST_CLASSES = 65_536
"""Predictions are stored as 16-bit numbers."""
VAL_FRACTION = 1 / 6
"""What is held back for validation where nothing else is said: as much as of MNIST's 60,000 + 10,000, about."""
CLASS_NAME = 100
"""Characters of the longest class name."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it lies on this disk, and what the user calls it. Only the first is ever opened."""

    path: Path
    filename: str
    entry: str | None = None
    """Where the file lies in a zip at `path`, the name of its entry there."""
    packed: int | None = None
    """Bytes that it takes there."""

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.path.stat().st_size if self.packed is None else self.packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How the files are to be read. None: guess it. `Guess.choices` has everything filled in that matters."""

    kind: str | None = None
    """One of `KINDS`."""
    val_file: str | None = None
    """The user's name of the file that holds the validation images; "" where none does."""
    delimiter: str | None = None
    """CSV: one of `DELIMITERS`."""
    header: bool | None = None
    """CSV: whether the first line names the columns."""
    label: int | None = None
    """CSV: place of the column with the class, from 0."""
    shape: tuple[int, int, int] | None = None
    """CSV: height, width and channels (1 or 3) of an image, as the file has it."""
    layout: str | None = None
    """CSV in colour: one of `LAYOUTS`."""
    size: tuple[int, int] | None = None
    """Height and width that all images are brought to."""
    fit: str | None = None
    """How images of other proportions are brought to it: one of `FITS`."""
    channels: str | None = None
    """Image folders: "grey" or "colour"."""
    val_fraction: float | None = None
    """Share of each class that is held back where no file or folder is for validation."""
    seed: int = 0
    """Of the draw of those that are held back."""
    classes: tuple[str, ...] | None = None
    """Names of the classes, in the order in which the guess or the conversion lists them."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choices:
        """From JSON or a form that has made numbers of its numbers. Raises `ConfigError`, a sentence by field."""
        errors = {name: "Is not a choice." for name in values if name not in _CHECKS}
        for name, check in _CHECKS.items():
            if values.get(name) is not None and (problem := check(values[name])):
                errors[name] = problem
        if errors:
            raise ConfigError(errors)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, (list, tuple))}
        given = {name: value for name, value in values.items() if value is not None}
        return cls(**given | lists)


def _one_of(known: Mapping[str, Any]) -> Callable[[Any], str]:
    return lambda value: "" if isinstance(value, str) and value in known else f"Must be one of {', '.join(known)}."


def _numbers(count: int, lowest: int, highest: int, words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        whole = isinstance(value, (list, tuple)) and len(value) == count and all(type(item) is int for item in value)
        return "" if whole and all(lowest <= item <= highest for item in value) else words

    return check


def _check_shape(value: Any) -> str:
    words = f"Must be height, width and channels: up to {MOST_READ_SIDE:,} pixels a side, with 1 or 3 channels."
    return _numbers(3, 1, MOST_READ_SIDE, words)(value) or ("" if value[2] in (1, 3) else words)


def _check_classes(value: Any) -> str:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        return "Must be a list of names."
    if any(
        not name.strip() or len(name) > CLASS_NAME or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name) for name in value
    ):
        return f"Each name must be on one line, of 1 to {CLASS_NAME} characters."
    return "" if len(set(value)) == len(value) else "Two classes cannot have the same name."


def _check_fraction(value: Any) -> str:
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1
    return "" if right else "Must be greater than 0 and less than 1."


def _whole(lowest: int, highest: int) -> Callable[[Any], str]:
    words = f"Must be a whole number from {lowest:,} to {highest:,}."
    return lambda value: "" if type(value) is int and lowest <= value <= highest else words


_CHECKS: dict[str, Callable[[Any], str]] = {
    "kind": _one_of(KINDS),
    "val_file": lambda value: "" if isinstance(value, str) else "Must be the name of a file.",
    "delimiter": lambda value: "" if value in DELIMITERS else "Must be a comma, a semicolon or a tab.",
    "header": lambda value: "" if isinstance(value, bool) else "Must be true or false.",
    "label": _whole(0, 3 * MOST_SIDE**2),
    "shape": _check_shape,
    "layout": _one_of(LAYOUTS),
    "size": _numbers(2, 1, MOST_SIDE, f"Must be height and width, up to {MOST_SIDE} pixels each."),
    "fit": _one_of(FITS),
    "channels": _one_of(CHANNELS),
    "val_fraction": _check_fraction,
    "seed": _whole(0, 2**32 - 1),
    "classes": _check_classes,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One file, or one folder of an archive, and what it is taken for."""

    name: str
    role: Literal["train", "val", "unused"]
    images: int | None
    """None where that is not known before the whole file is read."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A few images as they would be read."""

    images: Bytes
    """Shape [N, H, W, C]."""
    labels: tuple[str, ...]
    """The class of each, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What the files seem to be, from looking at a little of them."""

    choices: Choices
    """With every choice that matters for these files filled in."""
    shape: tuple[int, int, int]
    """Height, width, channels of the images to be."""
    parts: tuple[Part, ...]
    classes: tuple[str, ...]
    """Those seen so far, in order."""
    counts: tuple[int, ...] | None
    """Images of each class, both splits together; None where `classes` may not be all of them."""
    sample: Sample
    columns: tuple[str, ...] = ()
    """CSV: the names of the first columns (numbers, without a header) and of the last, to choose the label among."""
    unsure: Mapping[str, str] = field(default_factory=dict)
    """By name of a choice: why it has to be asked. The filled-in value is no more than the likeliest."""
    notes: tuple[str, ...] = ()
    """What the user should know, e.g. which files are left out."""
    plan: object = None
    """What the reader keeps of it for the conversion that follows: to read its names again, a packed tar would have to
    be unpacked as a whole. It does not leave the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A folder with `train-images.npy` (uint8 [N, H, W, C]), `train-labels.npy` (int64 [N]), the same for `val`, and
    `about.json`, which holds the other fields."""

    kind: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train: tuple[int, ...]
    """Training images of each class."""
    val: tuple[int, ...]
    content: str
    """SHA-256 over shape, classes, labels and images: the same for the same data, however it came."""
    choices: Choices
    """As they were applied."""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Converted:
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists, "choices": Choices.from_dict(values["choices"])})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a data set that its user should see before training on it."""

    code: str
    """`duplicates`, `imbalance`, `constant_class`, `blank`, `small_validation`, `contradiction` or `missing_class`."""
    message: str
    places: tuple[tuple[str, int], ...] = ()
    """(split, index) of some images that show it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at every image of a converted folder found."""

    train: tuple[int, ...]
    """Images of each class."""
    val: tuple[int, ...]
    samples: tuple[tuple[int, ...], ...]
    """Places in train of the first few images of each class."""
    warnings: tuple[Finding, ...]


def as_json(value: Any) -> dict[str, Any]:
    """A `Guess`, `Converted` or `Findings` for the way between processes; a sample's images packed as bytes."""
    from trainer.packing import pack  # only here: it is for those who talk in JSON

    found = {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, Guess):
        del found["plan"]
        found |= {
            "choices": value.choices.to_dict(),
            "parts": [asdict(part) for part in value.parts],
            "sample": {**pack(value.sample.images), "labels": value.sample.labels},
            "unsure": dict(value.unsure),
        }
        return found
    return asdict(value)
