"""Which of several files holds the training images, and which those for validation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.errors import IngestError, legible
from trainer.ingest.contract import Choices, Part, Upload

_TRAIN = re.compile(r"(^|[^a-z])train", re.IGNORECASE)
_VAL = re.compile(r"(^|[^a-z])(val|test|t10k|dev)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parts:
    train: Upload
    val: Upload | None
    unsure: dict[str, str]

    def listed(self) -> tuple[Part, ...]:
        found = [Part(self.train.filename, "train", None)]
        return (*found, Part(self.val.filename, "val", None)) if self.val else tuple(found)


def assigned(files: Sequence[Upload], choices: Choices) -> Parts:
    """By choice, by name, or the larger for training. Raises `IngestError` where there are not one or two."""
    names = [upload.filename for upload in files]
    if len(set(names)) < len(names):
        raise IngestError("Two files have the same name.", file=names[0])
    if choices.val_file is not None and choices.val_file not in ("", *names):
        raise IngestError(f"There is no file {legible(choices.val_file)}.", field="val_file")
    if len(files) > 2:
        problem = "Give one file with the training images and, if there is one, one for validation"
        raise IngestError(f"{problem}; these are {len(files):,} files.")
    if len(files) == 1:
        return Parts(files[0], None, {})
    if choices.val_file is None:
        return _by_name(files)
    if choices.val_file == "":
        raise IngestError("One of the two files must be for validation.", field="val_file")
    val = names.index(choices.val_file)
    return Parts(files[1 - val], files[val], {})


def _by_name(files: Sequence[Upload]) -> Parts:
    for train, val in (files, reversed(files)):
        if for_training(train.filename) or for_validation(val.filename):
            return Parts(train, val, {})
    larger, smaller = sorted(files, key=lambda upload: upload.size, reverse=True)
    why = "Neither name says train, val or test, so the larger file is taken for training."
    return Parts(larger, smaller, {"val_file": why})


def for_training(name: str) -> bool:
    return bool(_TRAIN.search(name)) and not _VAL.search(name)


def for_validation(name: str) -> bool:
    return bool(_VAL.search(name)) and not _TRAIN.search(name)
