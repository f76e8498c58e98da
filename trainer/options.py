"""How one setting of a run is asked for, explained and limited. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["integer", "number", "choice", "boolean", "text", "dataset", "device"]
_TEXT_KINDS = ("text", "dataset", "device")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. The form, the JSON API, the command line and the documentation are made from these."""

    name: str
    label: str
    help: str
    group: str
    kind: Kind
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """An exclusive lower limit."""
    below: float | None = None
    """An exclusive upper limit."""
    choices: tuple[tuple[str, str], ...] = ()
    """(value, label) pairs of a `choice`."""
    pattern: str = ""
    """What a text must match as a whole."""
    mismatch: str = ""
    """The sentence for a text that does not."""
    optional: bool = False
    """Whether it may be left empty (None)."""
    empty: str = ""
    """What empty means, e.g. "all"."""
    applies: tuple[str, tuple[str, ...]] | None = None
    """(name of a choice, its values) under which this setting means anything; None: always.

    Of a value with a colon in it, as "csv:NAME", only what stands before it counts.
    """

    def applies_to(self, values: Mapping[str, Any]) -> bool:
        """Whether the setting means anything beside these other `values`."""
        return self.applies is None or str(values.get(self.applies[0])).partition(":")[0] in self.applies[1]

    def check(self, value: Any) -> str | None:
        """A sentence on what is wrong with one value, or None."""
        if value is None:
            return None if self.optional else "Must not be empty."
        if self.kind == "choice":
            allowed = [choice for choice, _ in self.choices]
            return None if value in allowed else f"Must be one of {', '.join(allowed)}."
        if self.kind == "boolean":
            return None if isinstance(value, bool) else "Must be true or false."
        if self.kind in _TEXT_KINDS:
            return None if isinstance(value, str) and re.fullmatch(self.pattern, value) else self.mismatch
        return self._check_number(value)

    def _check_number(self, value: Any) -> str | None:
        whole = self.kind == "integer"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return "Must be a whole number." if whole else "Must be a number."
        if isinstance(value, float) and not math.isfinite(value):
            return "Must be a finite number."
        if self.minimum is not None and value < self.minimum:
            return f"Must be at least {self.minimum:,}."
        if self.maximum is not None and value > self.maximum:
            return f"Must be at most {self.maximum:,}."
        if self.above is not None and value <= self.above:
            return f"Must be greater than {self.above:g}."
        if self.below is not None and value >= self.below:
            return f"Must be less than {self.below:g}."
        return None
