"""Who may import whom: the server never waits for torch, and the trainer knows no web."""

from __future__ import annotations

import subprocess
import sys


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_web_does_not_import_torch():
    assert "torch" not in imported_by("app.main, app.serve, app.cli")


FIRST_WITH_TORCH = """
import importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(name)
"""
TORCH_FREE = [
    f"trainer.{name}"
    for name in (
        *("config", "events", "errors", "sources", "fetch", "models", "presets", "schedule", "scores"),
        *("durable", "fit", "store", "small_sets", "ingest", "ingest.__main__"),
    )
]


def test_what_the_web_uses_of_the_trainer_does_not_import_torch():
    """One after the other in one process: the first that does is named."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_WITH_TORCH, *TORCH_FREE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_trainer_knows_neither_web_nor_database():
    assert not {"fastapi", "starlette", "sqlalchemy", "app", "pydantic"} & imported_by("trainer.loop, trainer.__main__")
