"""The API's own description (OpenAPI) as a page for people: each operation with an example of asking and answer.

Examples come out of the schemas: their own example or default, or a value of the right kind.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

Schema = Mapping[str, Any]

_DEEPEST = 6
_SAMPLES = {"integer": 1, "number": 0.5, "boolean": True, "string": "text", "null": None}
_FORMATS = {"date-time": "2026-01-31T12:00:00Z", "binary": "..."}
_PATHS = {
    "run_id": "1", "format": "csv", "name": "baseline", "dataset": "fashion-mnist", "upload_id": "ID", "number": "0",
}  # fmt: skip
"""What stands in an example's address."""
_QUERIES = {"runs": "1", "filter": "lr < 0.01", "sort": "-best_val_accuracy", "follow": "table@0"}
"""Of parameters that say nothing by themselves; only these are in an example, beside those that must be there."""
_TITLES = {
    "runs": "Runs", "compare": "Comparing", "uploads": "Uploads", "datasets": "Data sets", "views": "Saved views",
    "events": "Streams", "streams": "Streams", "fetches": "Data sets", "tensorboard.zip": "Runs",
}  # fmt: skip
OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    place: str
    """path, query or header."""
    kind: str
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    text: str
    parameters: list[Parameter]
    asking: str
    """A command for a terminal."""
    status: str
    media: str
    answer: str
    """An example of what comes back; empty where it is a file or nothing."""
    problems: list[str]
    """Other statuses; their answers are problem details."""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    operations: list[Operation] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return self.title.lower().replace(" ", "-")


def groups(document: Mapping[str, Any], base: str) -> list[Group]:
    """All operations of an OpenAPI document, by what they are about; `base` is the server's address for examples."""
    found: dict[str, Group] = {}
    for path, item in document["paths"].items():
        title = _title(path)
        for method, told in item.items():
            group = found.setdefault(title, Group(title))
            group.operations.append(_operation(document, base, path, method, told))
    order = list(dict.fromkeys([*_TITLES.values(), OTHER]))
    return sorted(found.values(), key=lambda group: order.index(group.title))


def _title(path: str) -> str:
    if path.endswith("/events"):
        return _TITLES["events"]
    part = path.removeprefix("/api/v1/").partition("/")[0]
    return _TITLES.get(part.partition(".{")[0], OTHER)


def _operation(document: Schema, base: str, path: str, method: str, told: Mapping[str, Any]) -> Operation:
    lines = str(told.get("description", told.get("summary", ""))).strip().split("\n\n")
    status = next(status for status in told["responses"] if status.startswith("2"))
    contents: Mapping[str, Any] = told["responses"][status].get("content", {})
    media = next(iter(contents), "")
    schema = contents[media].get("schema", {}) if media else {}
    shown = media == "application/json" and bool(schema)
    return Operation(
        id=told["operationId"],
        method=method.upper(),
        path=path,
        summary=" ".join(lines[0].split()),
        text="\n".join(" ".join(part.split()) for part in lines[1:]),
        parameters=[_parameter(one) for one in told.get("parameters", [])],
        asking=_asking(document, base, path, method, told),
        status=status,
        media=media,
        answer=json.dumps(sample(document, schema), indent=2, ensure_ascii=False) if shown else "",
        problems=sorted(other for other in told["responses"] if not other.startswith("2")),
    )


def _parameter(told: Mapping[str, Any]) -> Parameter:
    schema = told.get("schema", {})
    parts = schema.get("anyOf", [schema])
    words = [word for part in parts for word in part.get("enum", [])]
    kinds = [kind for part in parts for kind in _kinds(part) if kind != "null"]
    kind = " | ".join(map(str, words)) if words else ", ".join(dict.fromkeys(kinds))
    text = told.get("description") or schema.get("description") or ""
    return Parameter(told["name"], told["in"], kind, bool(told.get("required")), text)


def _kinds(schema: Schema) -> list[str]:
    """A schema names one type, several, or none."""
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else list(found)


def _asking(document: Schema, base: str, path: str, method: str, told: Mapping[str, Any]) -> str:
    filled = path
    for name, value in _PATHS.items():
        filled = filled.replace("{" + name + "}", value)
    query = [
        f"{one['name']}={quote(str(_QUERIES.get(one['name'], sample(document, one['schema']))))}"
        for one in told.get("parameters", [])
        if one["in"] == "query" and (one.get("required") or one["name"] in _QUERIES)
    ]
    url = base + filled + (f"?{'&'.join(query)}" if query else "")
    words = ["curl"] + ([] if method == "get" else ["-X", method.upper()])
    words += _body(document, told)
    return " ".join([*map(shlex.quote, words), shlex.quote(url)])


def _body(document: Schema, told: Mapping[str, Any]) -> list[str]:
    content = told.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        body = content["application/json"]
        given = body["example"] if "example" in body else sample(document, body.get("schema", {}))
        return ["-H", "Content-Type: application/json", "-d", json.dumps(given, ensure_ascii=False)]
    return ["--data-binary", "@FILE"] if content else []


def sample(document: Schema, schema: Schema, depth: int = 0) -> Any:
    """A value that the schema allows."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name in ("example", "default", "const"):
        if name in schema:
            return schema[name]
    if "examples" in schema or "enum" in schema:
        return (schema.get("examples") or schema["enum"])[0]
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return sample(document, next(part for part in schema[name] if part.get("type") != "null"), depth)
    if depth > _DEEPEST:
        return None
    kind = next(iter(_kinds(schema)), "")
    if kind == "array":
        return [sample(document, schema.get("items", {}), depth + 1)]
    if kind == "object":
        return {name: sample(document, part, depth + 1) for name, part in schema.get("properties", {}).items()}
    return _FORMATS.get(str(schema.get("format")), _SAMPLES.get(kind))
