"""What a person typed, or a client sent as JSON, becomes a `Submission`, or errors by field in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.config import AUGMENTATION, EXECUTION, LOSS, OPTIONS, TrainConfig
from trainer.errors import ConfigError
from trainer.options import Option
from trainer.presets import PRESETS

NAME_LENGTH, NOTES_LENGTH, TAG_LENGTH, TAGS = 120, 5000, 40, 20
_LONGEST_NUMBER = 64
_BOOLEANS = {"true": True, "false": False}
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


class FormError(Exception):
    """The submission is refused; `errors` maps field name to sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {message}" for name, message in self.errors.items()))


@dataclass(frozen=True, slots=True)
class Submission:
    config: TrainConfig
    name: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """What people change of a run that is there; None stays as it is."""

    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] | None = None
    starred: bool | None = None
    archived: bool | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field as the form shows it; `value` is what was typed, right or wrong."""

    name: str
    label: str
    help: str
    kind: str
    value: str
    error: str | None = None
    choices: Sequence[tuple[str, str]] = ()
    grouped: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    """Choices under titles, instead."""
    placeholder: str = ""
    applies: str = ""
    """ "choice=value value": under which value of which other field it means anything; empty: always."""
    hidden: bool = False
    """Whether the other fields' values make it mean nothing now."""
    is_default: bool = True
    asked: bool = False
    """Whether its value is a mere guess, to be looked at by whoever knows."""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    fields: list[Field] = field(default_factory=list)
    folds: bool = False
    """Whether it may be closed: what most runs leave as it is."""

    @property
    def changed(self) -> int:
        return sum(not item.is_default for item in self.fields if not item.hidden)

    @property
    def open(self) -> bool:
        return not self.folds or self.changed > 0 or any(item.error for item in self.fields)


def parse(values: Mapping[str, Any]) -> Submission:
    """Raises `FormError`. A field that is not there takes its default; one that is there must be right."""
    errors: dict[str, str] = {}
    values = _with_preset(values, errors)
    texts = {name: _text(name, values.get(name), errors) for name in ("name", "notes")}
    tags = _tags(values.get("tags"), errors)
    config = _config(values, errors)
    errors |= {name: "Is not a setting of a run." for name in values if name not in OPTIONS and name not in _ABOUT}
    if errors or config is None:
        raise FormError(errors)
    return Submission(config, texts["name"], texts["notes"], tags)


def parse_edit(values: Mapping[str, Any]) -> Edit:
    """What people write on a run; what is not there stays. Raises `FormError`."""
    errors: dict[str, str] = {}
    found: dict[str, Any] = {}
    for name in values:
        match name:
            case "name" | "notes":
                found[name] = _text(name, values[name], errors)
            case "tags":
                found[name] = _tags(values[name], errors)
            case "starred" | "archived":
                found[name] = _BOOLEANS.get(str(values[name]).lower())
                if found[name] is None:
                    errors[name] = "Must be true or false."
            case _:
                errors[name] = "Cannot be changed."
    if found.get("name") == "" and "name" not in errors:
        errors["name"] = "Must not be empty."
    if errors:
        raise FormError(errors)
    return Edit(**found)


def tag_errors(tag: str) -> dict[str, str]:
    """What is wrong with one tag, by field."""
    problem = "Must not contain a comma." if "," in tag else text_problem(tag, TAG_LENGTH)
    return {"tag": problem} if problem else {}


def _with_preset(values: Mapping[str, Any], errors: dict[str, str]) -> dict[str, Any]:
    """A `preset` gives way to its settings; what is said beside it wins over them."""
    rest = {name: value for name, value in values.items() if name != "preset"}
    name = values.get("preset")
    if name is None:
        return rest
    if not isinstance(name, str) or name not in PRESETS:
        errors["preset"] = f"Must be one of {', '.join(PRESETS)}."
        return rest
    return dict(PRESETS[name].changes) | rest


def groups(values: Mapping[str, Any], errors: Mapping[str, str], choices: Mapping[str, Choices]) -> list[Group]:
    """The form's fields in their groups, holding `values` (typed text, or a config's own values).

    `choices` are those that only this machine knows, by kind of field, under titles: its devices, its data sets.
    """
    about = [
        Field(name, label, words, kind, shown(values.get(name)), errors.get(name))
        for name, (label, words, kind, _) in _ABOUT.items()
    ]
    found = {"About": Group("About", about)}
    known = {name: values.get(name, option.default) for name, option in OPTIONS.items()}
    for option in OPTIONS.values():
        group = found.setdefault(option.group, Group(option.group, folds=option.group in _FOLDING))
        group.fields.append(_field(option, known, errors.get(option.name), choices))
    return list(found.values())


Choices = Sequence[tuple[str, Sequence[tuple[str, str]]]]
_FOLDING = (AUGMENTATION, LOSS, EXECUTION)


_ABOUT: dict[str, tuple[str, str, str, int]] = {
    "name": ("Name", "What you will look for later; empty takes the architecture and a number.", "text", NAME_LENGTH),
    "tags": ("Tags", "Separated by commas.", "text", TAGS * (TAG_LENGTH + 2)),
    "notes": ("Notes", "What this run is for.", "textarea", NOTES_LENGTH),
}


def _field(option: Option, known: Mapping[str, Any], error: str | None, choices: Mapping[str, Choices]) -> Field:
    value = shown(known[option.name])
    return Field(
        option.name,
        option.label,
        option.help,
        "choice" if option.kind in choices else option.kind,
        value,
        error,
        option.choices,
        choices.get(option.kind, ()),
        placeholder=option.empty,
        applies=f"{option.applies[0]}={' '.join(option.applies[1])}" if option.applies else "",
        hidden=not option.applies_to(known) and error is None,
        is_default=value == shown(option.default),
    )


def shortest(value: float) -> str:
    """As few digits as still say just this number: 0.001, 1e-05."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)


def shown(value: Any) -> str:
    """A setting as the form's own fields hold it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return shortest(value)
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _config(values: Mapping[str, Any], errors: dict[str, str]) -> TrainConfig | None:
    """The settings among `values`; None when one of them is wrong, and then `errors` says which."""
    settings: dict[str, Any] = {}
    for option in OPTIONS.values():
        if option.name not in values:
            continue
        value = values[option.name]
        try:
            settings[option.name] = typed(option, value.strip()) if isinstance(value, str) else value
        except ValueError as error:
            errors[option.name] = str(error)
    # The limits of the other fields are told in the same answer, not one error at a time.
    try:
        return TrainConfig.from_dict(settings)
    except ConfigError as error:
        errors.update({name: text for name, text in error.errors.items() if name not in errors})
        return None


def typed(option: Option, text: str) -> Any:
    """Text as its field's type. Raises ValueError with a sentence."""
    if text == "":
        if option.optional:
            return None
        raise ValueError("Must not be empty.")
    if option.kind == "integer":
        if len(text) > _LONGEST_NUMBER or not _WHOLE.fullmatch(text):
            raise ValueError("Must be a whole number.")
        return int(text)
    if option.kind == "number":
        return _number(text)
    if option.kind == "boolean":
        if text not in _BOOLEANS:
            raise ValueError("Must be true or false.")
        return _BOOLEANS[text]
    return text


def _number(text: str) -> float:
    try:
        if len(text) > _LONGEST_NUMBER or "_" in text or not text.isascii():
            raise ValueError
        return float(text)
    except ValueError:
        raise ValueError("Must be a number, such as 0.001 or 1e-3.") from None


def _text(name: str, value: Any, errors: dict[str, str]) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        errors[name] = "Must be text."
        return ""
    value = value.replace("\r\n", "\n").strip()
    problem = text_problem(value, _ABOUT[name][3], lines=name == "notes")
    if problem:
        errors[name] = problem
    return str(value)


def _tags(value: Any, errors: dict[str, str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        errors["tags"] = "Must be a list of texts."
        return ()
    tags = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if len(tags) > TAGS:
        errors["tags"] = f"Must be at most {TAGS} tags."
    for tag in tags:
        if problem := text_problem(tag, TAG_LENGTH):
            errors["tags"] = f"Each tag: {problem[0].lower()}{problem[1:]}"
    return tags


def text_problem(value: str, longest: int, *, lines: bool = False) -> str | None:
    if len(value) > longest:
        return f"Must be at most {longest:,} characters; it has {len(value):,}."
    # Control characters and lone surrogates cannot be shown, and the latter cannot be stored.
    if any(unicodedata.category(char) in ("Cc", "Cs") and not (lines and char in "\n\t") for char in value):
        return "Must not contain control characters."
    return None
