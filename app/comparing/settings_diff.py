"""Where the settings of several runs differ, and how runs fall into groups by their settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from app import forms
from app.runs_table import columns
from trainer import sources
from trainer.config import OPTIONS
from trainer.options import Option

Mark = Literal["", "changed", "added", "removed"]
ABSENT = "–"
"""Shown where a setting means nothing beside the others, as the momentum of Adam."""
UNKNOWN = ""
"""In the settings of an imported run: what is not there was not at its default, it is not known."""
SEEDS = "seeds"
"""The grouping of runs that differ in nothing but the seed."""
LONGEST_LABEL = 80


class Setting(BaseModel):
    """One setting over the runs, in their order."""

    name: str
    label: str
    values: list[str] = Field(description="As a person reads them; – where the setting means nothing.")
    marks: list[Mark] = Field(description="Against the first run: changed, added, removed, or nothing.")

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Each value with the number of runs that have it, the commonest first."""
        return Counter(self.values).most_common()


@dataclass(frozen=True, slots=True)
class Grouping:
    """`label` is what the grouping is by; `of[i]` is the place in `groups` of the run at place i."""

    name: str
    label: str
    groups: list[str]
    of: list[int]

    def members(self, group: int) -> list[int]:
        """Places of the runs of a group."""
        return [place for place, one in enumerate(self.of) if one == group]


def of(configs: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """All settings in the order of the form."""
    return [_setting(name, configs) for name in OPTIONS]


def differing(settings: Sequence[Setting]) -> list[Setting]:
    return [setting for setting in settings if len(set(setting.values)) > 1]


def groupings(settings: Sequence[Setting]) -> dict[str, Grouping]:
    """Every way to group the runs: by all settings but the seed, and by each setting that differs."""
    differ = differing(settings)
    by_config = [setting for setting in differ if setting.name != "seed"]
    found = {SEEDS: _by(SEEDS, "Same settings, any seed", by_config, settings)}
    return found | {setting.name: _by(setting.name, setting.label, [setting], settings) for setting in differ}


def shown(name: str, value: Any) -> str:
    """A setting's value as a person reads it."""
    option = OPTIONS.get(name)
    if value is None:
        return option.empty[0].upper() + option.empty[1:] if option and option.empty else ABSENT
    if name == "dataset":
        return sources.label(value)
    if isinstance(value, bool):
        return "On" if value else "Off"
    if option and option.choices:
        return dict(option.choices).get(value, str(value))
    if value == "auto":
        return "Auto"
    return forms.shortest(value) if isinstance(value, float) else str(value)


def _setting(name: str, configs: Sequence[Mapping[str, Any]]) -> Setting:
    option = OPTIONS[name]
    values = [_value(option, config) for config in configs]
    # Two networks have a width: their own settings are called after them, as in the table.
    label = columns.COLUMNS[name].label if option.applies and option.applies[0] == "arch" else option.label
    return Setting(name=name, label=label, values=values, marks=[_mark(values[0], value) for value in values])


def _value(option: Option, config: Mapping[str, Any]) -> str:
    if UNKNOWN in config and option.name not in config:
        return ABSENT
    return shown(option.name, config.get(option.name, option.default)) if option.applies_to(config) else ABSENT


def _mark(first: str, value: str) -> Mark:
    if value == first:
        return ""
    if first == ABSENT:
        return "added"
    return "removed" if value == ABSENT else "changed"


def _by(name: str, label: str, by: Sequence[Setting], settings: Sequence[Setting]) -> Grouping:
    """Groups in the order in which they first appear."""
    runs = len(settings[0].values) if settings else 0
    keys = [tuple(setting.values[place] for setting in by) for place in range(runs)]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return Grouping(name, label, [_label(key, by) for key in places], [places[key] for key in keys])


def _label(key: Sequence[str], by: Sequence[Setting]) -> str:
    parts = [f"{setting.label} {value}" for setting, value in zip(by, key, strict=True) if value != ABSENT]
    text = ", ".join(parts) or "All the same settings"
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 2]} …"
