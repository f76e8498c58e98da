"""How an upload is read, as fields of a form that may be corrected, and what such a form says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.data_sets.intake import READY, Reading
from app.data_sets.uploads import Upload
from app.forms import Field, FormError
from trainer.errors import ConfigError
from trainer.ingest.contract import DELIMITERS, FITS, KINDS, LAYOUTS, Choices

MOST_CLASSES_NAMED = 400
"""So many names can still be changed by hand."""
_DECIDE_CLASSES = frozenset(("kind", "val_file", "delimiter", "header", "label"))
"""What may change which classes there are: their names are then guessed anew."""
_TABS = {",": "comma", ";": "semicolon", "\t": "tab"}


def fields(upload: Upload, reading: Reading, errors: Mapping[str, str]) -> list[Field]:
    """Those that mean something for this kind of files."""
    known, unsure = effective(reading), (reading.guess or {}).get("unsure", {})
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
    h, w, c = known["shape"]
    found = [
        field("delimiter", "Separator", "", _TABS[known["delimiter"]], [(_TABS[k], v) for k, v in DELIMITERS.items()]),
        field("header", "First line names the columns", "", str(bool(known["header"])).lower(), header),
        field("label", "Column of the class", "", str(known["label"]), columns),
        field("shape", "Image shape", "Height x width, or height x width x 3 in colour.", f"{h}x{w}x{c}"),
    ]
    if c == 3:
        found.append(field("layout", "Order of the colours", "", known["layout"] or "", LAYOUTS.items()))
    return found + _size_fields(field, known)


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
    h, w, c = known["shape"]
    last = h * w * c
    places = [*range(len(names) - 1), max(last, len(names) - 1)] if names else []
    found = [(place, f"{name[:40]} ({place + 1})") for place, name in zip(places, names, strict=True)]
    if known["label"] not in dict(found):
        found.append((known["label"], f"Column {known['label'] + 1}"))
    return found


def _archive_fields(field: Any, known: Mapping[str, Any], guess: Mapping[str, Any]) -> list[Field]:
    c = guess["shape"][2]
    colours = [("grey", "Grey"), ("colour", "Colour")]
    return [
        *_size_fields(field, known),
        field("channels", "Colours", "", known.get("channels") or ("grey" if c == 1 else "colour"), colours),
    ]


def _array_fields(field: Any, known: Mapping[str, Any], guess: Mapping[str, Any]) -> list[Field]:
    options = [("interleaved", "Channels last: [N, H, W, C]"), ("planar", "Channels first: [N, C, H, W]")]
    layout = [field("layout", "Order of the colours", "", known["layout"], options)] if known.get("layout") else []
    return layout + _size_fields(field, known)


def _size_fields(field: Any, known: Mapping[str, Any]) -> list[Field]:
    """Where images are resized: to which size, and what becomes of other proportions."""
    if not known.get("size"):
        return []
    h, w = known["size"]
    found = [field("size", "Image size", "Height x width that all images are brought to.", f"{h}x{w}")]
    if known.get("fit"):
        words = "What becomes of images of other proportions."
        found.append(field("fit", "Other proportions", words, known["fit"], FITS.items()))
    return found


_CHOSEN_BY_KIND = {"csv": _csv_fields, "archive": _archive_fields, "npz": _array_fields, "idx": _array_fields}


def choices(values: Mapping[str, str], reading: Reading) -> dict[str, Any]:
    """What a posted form corrects, as `Choices` takes it; what it leaves as it was guessed stays a guess.

    Raises `FormError`.
    """
    guessed = effective(reading)
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


def effective(reading: Reading) -> dict[str, Any]:
    """The choices as they were applied, guessed and said."""
    if reading.guess:
        return dict(reading.guess["choices"])
    return (reading.before["choices"] if reading.before else {}) | reading.choices


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


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
    "fit": lambda text: text or None,
    "channels": str,
    "val_fraction": _per_cent,
    "seed": _whole,
    "classes": lambda text: [line.strip() for line in text.strip().splitlines()],
}
