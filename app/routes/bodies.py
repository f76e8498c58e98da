"""What OpenAPI says of a run's settings, as JSON and in a query: made from the trainer's own options."""

from __future__ import annotations

from typing import Any

from app import forms
from trainer.config import OPTIONS
from trainer.options import Option
from trainer.presets import PRESETS


def _json_schema(option: Option) -> dict[str, Any]:
    kind = {"integer": "integer", "number": "number", "boolean": "boolean"}.get(option.kind, "string")
    schema: dict[str, Any] = {
        "type": [kind, "null"] if option.optional else kind,
        "title": option.label,
        "description": option.help,
        "default": option.default,
        "minimum": option.minimum,
        "maximum": option.maximum,
        "exclusiveMinimum": option.above,
        "exclusiveMaximum": option.below,
        "enum": [value for value, _ in option.choices] or None,
    }
    return {name: value for name, value in schema.items() if value is not None}


_ABOUT: dict[str, Any] = {
    "name": {"type": "string", "maxLength": forms.NAME_LENGTH},
    "notes": {"type": "string", "maxLength": forms.NOTES_LENGTH},
    "tags": {
        "type": "array",
        "items": {"type": "string", "maxLength": forms.TAG_LENGTH},
        "maxItems": forms.TAGS,
    },
}


def _body(properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


SUBMISSION = _body(
    _ABOUT
    | {"preset": {"enum": list(PRESETS), "description": "Settings to start from; others beside it win."}}
    | {option.name: _json_schema(option) for option in OPTIONS.values()},
    {"name": "first try", "epochs": 3, "lr": 0.001},
)
EDIT = _body(
    _ABOUT | {name: {"type": "boolean"} for name in ("starred", "archived")}, {"tags": ["sweep"], "starred": True}
)


SETTINGS_IN_QUERY = {
    "parameters": [
        {"name": option.name, "in": "query", "required": False, "schema": _json_schema(option)}
        for option in OPTIONS.values()
    ]
}
