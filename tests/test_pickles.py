"""Nothing that comes from outside is ever unpickled: a pickle runs whatever its maker wants."""

from __future__ import annotations

import ast
import tomllib
from typing import TYPE_CHECKING

import pytest

from app.config import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"read_pickle", "eval", "exec", "unsafe_load"}


def sources() -> list[Path]:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    folders = [ROOT / pattern.removesuffix("*") for pattern in packages["include"]]
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def unsafe(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNSAFE_MODULES:
            # The names of errors load nothing: torchvision unpickles CIFAR's files, known by their checksums.
            yield from (f"from {node.module} import" for a in node.names if not a.name.endswith("Error"))
        elif isinstance(node, ast.Call):
            yield from _unsafe_call(node)


def _unsafe_call(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = ast.unparse(call.func).rpartition(".")[0]
    said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if owner == "torch" and name == "load" and said.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if said.get("allow_pickle", "False") != "False":
        yield f"{name} with allow_pickle"
    if name in UNSAFE_CALLS and owner in ("", "pd", "pandas", "yaml", "builtins"):
        yield name


def test_no_module_of_fitroom_unpickles_what_it_has_not_written():
    found = {str(file.relative_to(ROOT)): list(unsafe(ast.parse(file.read_text()))) for file in sources()}
    assert len(found) > 60
    assert {file: told for file, told in found.items() if told} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "pd.read_pickle(f)",
        "eval(x)",
    ],
)
def test_each_way_to_unpickle_would_be_noticed(code: str):
    assert list(unsafe(ast.parse(code)))
