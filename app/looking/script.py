"""A run as one plain Python script in the tutorial's style, without Fitroom: what its settings do, and nothing else.

The loop is `templates/script.py.jinja`. Networks, transforms and the like are taken from the trainer's own source, so
that the script does what the run did: from the same seed, on the same kind of machine, digit by digit.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.config import ROOT
from app.looking import images
from app.looking.excerpts import Excerpts
from app.models import Run
from app.runs import RunStateError, config_of
from trainer import csv_images
from trainer.config import TrainConfig
from trainer.models import REGISTRY
from trainer.sources import CSV, SET
from trainer.store import Store, parsed

_MODULES = tuple(
    f"trainer.{name}" for name in ("models", "sources", "csv_images", "data", "augment", "optim", "schedule")
)
"""Where what the template uses without defining it is looked for."""
_IMPORTS = {
    "copy": "import copy",
    "math": "import math",
    "sys": "import sys",
    "time": "import time",
    "Iterator": "from collections.abc import Iterator",
    "Path": "from pathlib import Path",
    "np": "import numpy as np",
    "pd": "import pandas as pd",
    "torch": "import torch",
    "Tensor": "from torch import Tensor",
    "nn": "from torch import nn",
    "F": "from torch.nn import functional as F",
    "DataLoader": "from torch.utils.data import DataLoader",
    "Dataset": "from torch.utils.data import Dataset",
    "FashionMNIST": "from torchvision.datasets import FashionMNIST",
}
_STANDARD = ("copy", "math", "sys", "time", "collections", "pathlib", "dataclasses", "typing")

_jinja = Environment(  # noqa: S701 - it is Python, not HTML; what a user typed goes in as a literal
    loader=FileSystemLoader(ROOT / "templates"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
)


def script(run: Run, data_dir: Path) -> str:
    """The whole file.

    Raises `RunStateError` before the run has started, and `DataError` where its data cannot be read.
    """
    config = config_of(run)
    if not run.facts:
        raise RunStateError("The script comes when the run has started: its precision is settled then.")
    context = _context(run.id, run.name, config, run.facts, data_dir)
    template = _jinja.get_template("script.py.jinja")
    excerpts = Excerpts()
    unknown = _unknown(template.render(context, imports="", parts=""))
    for name in unknown:
        for module in _MODULES:
            if excerpts.offers(module, name):
                excerpts.take(module, name)
                break
    imports = {_IMPORTS[name] for name in unknown if name in _IMPORTS} | excerpts.imports
    text = template.render(context, imports=_sorted(imports), parts="\n\n\n".join(excerpts.code))
    # What the template leaves out leaves its blank lines behind.
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _context(run_id: int, name: str, config: TrainConfig, facts: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    shape = images.image_set(config.dataset, "train", data_dir, config.csv_shape).images.shape[1:]
    precision, device = str(facts["precision"]), str(facts["device"])
    draws = bool(config.shift or config.flip or config.rotate or config.erase or config.mix != "none")
    csv = _csv(config, shape, data_dir) if config.dataset.startswith(CSV) else None
    npz = _npz(config.dataset, data_dir) if config.dataset.startswith(SET) else None
    folder = "FOLDER is where torchvision keeps Fashion-MNIST, or puts it."
    if csv or npz:
        folder = f"FOLDER holds {(csv or npz or {})['place']}."
    auto = '"cuda:0" if torch.cuda.is_available() else "cpu"'
    return {
        "run_id": run_id,
        "title": f"Its name: {name!r}",
        "needs": f"torch, torchvision{', pandas' if csv else ''} and numpy",
        "folder_words": f'{folder} Without it, "data" is taken.',
        "config": config,
        "device": auto if config.device == "auto" else _literal(config.device),
        "precision": precision,
        "float32_as": _float32_as(precision, device),
        "csv": csv,
        "npz": npz,
        "channels": shape[2],
        "loaded": config.loading == "dataloader",
        "draws": draws,
        "plain": not (draws or config.normalize),
        "network": REGISTRY[config.arch].builder.__name__,
        "arch_options": "".join(f", {keyword}={value}" for keyword, value in config.arch_options.items()),
        "optimizer": _optimizer(config),
        "weights": [float(part) for part in (config.class_weights or "").split(",")]
        if config.class_weights not in (None, "balanced")
        else None,
        "schedule": config.schedule != "constant" or config.warmup_epochs > 0,
        "warmup": f"round({config.warmup_epochs} * steps_per_epoch)",
    }


def _csv(config: TrainConfig, shape: tuple[int, ...], data_dir: Path) -> dict[str, Any]:
    name = config.dataset.removeprefix(CSV)
    train, val = csv_images.files(data_dir, name)
    layout = csv_images.layout(train)
    found = [_literal(path.name) for path in (train, val) if path]
    return {
        "folder": f"{_literal('csv')} / {_literal(name)}",
        "place": f"csv/{name} with {' and '.join(found)}",
        "train": _literal(train.name),
        "val": _literal(val.name) if val else None,
        "delimiter": _literal(layout.delimiter),
        "header": None if layout.header is None else 0,
        "label": layout.label,
        "shape": shape,
    }


def _npz(dataset: str, data_dir: Path) -> dict[str, Any]:
    """The data set as it is downloaded."""
    kept = Store(data_dir).get(*parsed(dataset))
    return {
        "file": _literal(kept.file),
        "classes": len(kept.about.classes),
        "place": f"{kept.file}, which the page of the data set gives",
    }


def _float32_as(precision: str, device: str) -> str:
    """torch's word for it; empty where there is nothing to set."""
    if not device.startswith("cuda"):
        return ""
    return "tf32" if precision == "tf32" else "ieee"


def _optimizer(config: TrainConfig) -> str:
    decay = config.weight_decay or 0.0
    match config.optimizer:
        case "adamw":
            own = 0.01 if config.weight_decay is None else config.weight_decay
            made = f"AdamW(model.parameters(), lr=LR, weight_decay={own}, fused=True)"
        case "sgd":
            nesterov = ", nesterov=True" if config.nesterov and config.momentum > 0 else ""
            made = (
                f"SGD(model.parameters(), lr=LR, momentum={config.momentum}{nesterov}, "
                f"weight_decay={decay}, fused=True)"
            )
        case "rmsprop":
            made = f"RMSprop(model.parameters(), lr=LR, weight_decay={decay})"
        case _:
            made = f"Adam(model.parameters(), lr=LR, weight_decay={decay}, fused=True)"
    return f"torch.optim.{made}"


def _literal(text: str) -> str:
    """As Python in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _unknown(text: str) -> list[str]:
    """Names that the script reads and nowhere sets, in order."""
    nodes = list(ast.walk(ast.parse(text)))
    known = set(dir(builtins))
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                known.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                known.add(name)
    read = [node.id for node in nodes if isinstance(node, ast.Name) and node.id not in known]
    return list(dict.fromkeys(read))


def _sorted(imports: set[str]) -> str:
    """The standard library's, a line between, and the others; names of one module in one statement."""
    whole = {line for line in imports if line.startswith("import")}
    names: dict[str, list[str]] = {}
    for line in imports - whole:
        _, module, _, name = line.split(maxsplit=3)
        names.setdefault(module, []).append(name)
    parts = {f"from {module} import {', '.join(sorted(found, key=_case))}" for module, found in names.items()}
    groups: tuple[list[str], list[str]] = ([], [])
    for line in [*sorted(whole), *sorted(parts)]:
        groups[line.split()[1].split(".")[0] not in _STANDARD].append(line)
    return "\n\n".join("\n".join(group) for group in groups)


def _case(name: str) -> tuple[bool, str]:
    """Names with a capital first, as tools that sort imports have it."""
    return not name[0].isupper(), name
