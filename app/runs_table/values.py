"""What a person types as a value in a filter, as its column's type: `90%`, `5m`, `2026-01`, `7d`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.runs_table.columns import Column


class ValueProblem(ValueError):
    """The word is no value of its column; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Span:
    """A year, month, day, hour, minute or second: from `start` up to before `end`."""

    start: datetime
    end: datetime


Value = str | int | float | Span

_NUMBER = re.compile(r"[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"(\d{1,5})\s*(m|h|d|w)(?:\s*ago)?", re.ASCII | re.IGNORECASE)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ](\d{2})(?::(\d{2})(?::(\d{2}))?)?Z?)?)?)?", re.ASCII)
_FLAGS = {"true": 1, "yes": 1, "on": 1, "1": 1, "false": 0, "no": 0, "off": 0, "0": 0}


def typed(column: Column, word: str, now: datetime) -> Value:
    """Raises `ValueProblem`."""
    match column.kind:
        case "number":
            return _number(column, word.strip())
        case "instant":
            return _instant(column, word.strip(), now)
        case "flag":
            return _flag(column, word.strip().lower())
        case "choice":
            return _choice(column, word)
        case _:
            return word


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.7)
    return found[0] if found else None


def _number(column: Column, word: str) -> float:
    if column.shown == "duration" and _DURATION.match(word):
        return _duration(column, word)
    share = column.shown == "percent" and word.endswith("%")
    if not _NUMBER.fullmatch(word.removesuffix("%").strip() if share else word):
        example = {"percent": "0.9 or 90%", "duration": "90, 5m or 1h30m"}.get(column.shown, "0.001 or 1e-3")
        raise ValueProblem(f"{column.key} is a number, such as {example}; “{word}” is none")
    value = float(word.removesuffix("%").strip()) / (100 if share else 1)
    if not math.isfinite(value):
        raise ValueProblem(f"“{word}” is too large a number")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _duration(column: Column, word: str) -> float:
    found = _DURATION.findall(word)
    if re.sub(r"\s", "", _DURATION.sub("", word)):
        raise ValueProblem(f"{column.key} is a time, such as 90, 5m or 1h30m; “{word}” is none")
    return sum(float(count) * _SECONDS[unit] for count, unit in found)


def _instant(column: Column, word: str, now: datetime) -> Span:
    if match := _AGO.fullmatch(word):
        moment = now - timedelta(**{_UNITS[match[2].lower()]: int(match[1])})
        return Span(moment, moment)
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if word.lower() in ("today", "yesterday"):
        start = midnight - timedelta(days=word.lower() == "yesterday")
        return Span(start, start + timedelta(days=1))
    match = _DATE.fullmatch(word)
    try:
        if match is None:
            raise ValueError
        return _span([int(part) for part in match.groups() if part is not None])
    except (ValueError, OverflowError):
        raise ValueProblem(
            f"{column.key} is a date in UTC, such as 2026-01-31, 2026-01-31T18:00, today or 7d; “{word}” is none"
        ) from None


def _span(parts: list[int]) -> Span:
    """Raises ValueError for a date that there is not."""
    start = datetime(*[*parts, 1, 1][: max(3, len(parts))], tzinfo=UTC)  # type: ignore[misc, arg-type]
    match len(parts):
        case 1:
            end = start.replace(year=start.year + 1)
        case 2:
            end = (start + timedelta(days=32)).replace(day=1)
        case count:
            end = start + (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))[count - 3]
    return Span(start, end)


def _flag(column: Column, word: str) -> int:
    if word not in _FLAGS:
        raise ValueProblem(f"{column.key} is true or false; “{word}” is neither")
    return _FLAGS[word]


def _choice(column: Column, word: str) -> str:
    known = [value for value, _ in column.choices]
    if word.lower() not in known:
        near = nearest(word, known)
        hint = f"; did you mean {near}?" if near else ""
        raise ValueProblem(f"{column.key} is one of {', '.join(known)}; “{word}” is not{hint}")
    return word.lower()
