"""The names of classes: as the files have them, in one spelling and one order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from trainer.errors import IngestError

WHOLE = re.compile(r"[0-9]{1,9}(\.0*)?", re.ASCII)


def class_name(label: object) -> str:
    """One name for a class, however its number is written; without what cannot be seen."""
    text = str(label)
    if not text.isprintable():
        text = "".join(" " if char.isspace() else char for char in text if char.isspace() or not _unseen(char))
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return str(int(float(text))) if WHOLE.fullmatch(text) else text


def _unseen(char: str) -> bool:
    """Control characters, and marks that change the direction of what is around them."""
    return unicodedata.category(char)[0] == "C"


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Numbers by their value, anything else by the alphabet."""
    known = list(names)
    if all(name.isascii() and name.isdigit() for name in known):
        return tuple(sorted(known, key=int))
    return tuple(sorted(known, key=lambda name: (name.casefold(), name)))


def renamed(names: Sequence[str], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Raises `IngestError` where there are not as many names as classes."""
    if given is None:
        return tuple(names)
    if len(given) != len(names):
        raise IngestError(f"There are {len(names):,} classes but {len(given):,} names for them.", field="classes")
    return given
