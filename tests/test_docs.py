"""What can be set or asked is documented; a new one that is not fails here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.cli import _parser
from app.config import ROOT, Settings
from app.main import create_app
from trainer.config import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = (ROOT / "docs" / "reference.md").read_text()


def test_every_environment_setting_is_documented_with_its_default():
    for name, field in Settings.model_fields.items():
        assert f"| `FITROOM_{name.upper()}` | `{field.default}` |" in REFERENCE


def test_every_hyper_parameter_is_documented_with_its_default():
    for option in OPTIONS.values():
        default = option.empty if option.default is None else option.default
        assert f"| `{option.name}` | `{default}` |" in REFERENCE


def test_every_route_of_the_api_is_documented(tmp_path: Path):
    document = create_app(Settings(home=tmp_path)).openapi()
    routes = {f"`{method.upper()} {path}`" for path, item in document["paths"].items() for method in item}
    assert routes
    assert {route for route in routes if route not in REFERENCE} == set()


def test_every_command_is_documented():
    commands = re.findall(r"^    (\w+) ", _parser().format_help(), re.MULTILINE)
    assert {"serve", "worker", "train", "doctor", "export"} <= set(commands)
    assert [name for name in commands if f"`fitroom {name}" not in REFERENCE] == []
