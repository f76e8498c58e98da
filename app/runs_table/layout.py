"""Which columns a table shows: their order, their widths, and which stay in sight when it is scrolled sideways.

Written as `name:240,status|lr,best_val_accuracy`: what stands before the bar stays in sight, a number is a width in
pixels. So it fits into an address, and a view that is shared shows the same columns to everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.runs_table import columns

NARROWEST, WIDEST = 48, 800


@dataclass(frozen=True, slots=True)
class Place:
    """One column of a table."""

    key: str
    """Of `columns.COLUMNS` or `columns.EXTRAS`."""
    width: int | None = None
    """In pixels; None: as wide as it needs."""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    places: tuple[Place, ...]

    @classmethod
    def of(cls, text: str) -> Layout:
        """What is no column, or stands there twice, is left out; without any column it is the default."""
        pinned, bar, rest = text.partition("|")
        if not bar:
            pinned, rest = "", text
        found = {place.key: place for place in (*_places(rest, pinned=False), *_places(pinned, pinned=True))}
        ordered = [key for key in map(_key, f"{pinned},{rest}".split(",")) if key in found]
        return cls(tuple(found[key] for key in dict.fromkeys(ordered))) if found else DEFAULT

    @classmethod
    def chosen(cls, keys: Iterable[str], pinned: Iterable[str], widths: Mapping[str, str]) -> Layout:
        """From the form: those that stay in sight come first."""
        keys, stay = list(keys), set(pinned)
        words = [f"{key}:{widths.get(key, '')}" for key in keys]
        before = [word for key, word in zip(keys, words, strict=True) if key in stay]
        after = [word for key, word in zip(keys, words, strict=True) if key not in stay]
        return cls.of(f"{','.join(before)}|{','.join(after)}")

    @property
    def keys(self) -> list[str]:
        return [place.key for place in self.places]

    def __str__(self) -> str:
        """The reverse of `of`; empty for the default."""
        if self == DEFAULT:
            return ""
        pinned = ",".join(_word(place) for place in self.places if place.pinned)
        rest = ",".join(_word(place) for place in self.places if not place.pinned)
        return f"{pinned}|{rest}" if pinned else rest


def _word(place: Place) -> str:
    return place.key if place.width is None else f"{place.key}:{place.width}"


def _key(word: str) -> str:
    name = word.partition(":")[0].strip()
    column = columns.get(name)
    return column.key if column else name


def _places(words: str, *, pinned: bool) -> Iterable[Place]:
    for word in words.split(","):
        key, width = _key(word), word.partition(":")[2]
        if key in columns.COLUMNS or key in columns.EXTRAS:
            yield Place(key, _width(width), pinned)


def _width(word: str) -> int | None:
    whole = word.isascii() and word.isdigit() and len(word) < 5
    return min(max(NARROWEST, int(word)), WIDEST) if whole else None


DEFAULT = Layout(tuple(Place(key) for key in columns.DEFAULT))
