"""Answers of torch for a process that has none: `python -m trainer.helper` reads a question a line, as JSON.

    {"network": settings, "shape": {...}}
        -> {"network": ...}
    {"predict": weights, "shape": [h, w, c], "pixels": base64}
        -> {"classes": [...], "probabilities": [...], "heat": [[...]], "first_layer": {...} or null}
    {"onnx": weights, "to": file, "data_dir": ...}
        -> {"images": n, "difference": largest}
    {"duplicates": data set, "data_dir": ..., "most": n}
        -> {"equal": n, "near": n, "below": grey levels, "pairs": [{"val": i, "train": i, ...}, ...]}
    {"augmented": settings, "data_dir": ..., "images": n, "draws": n}
        -> {"shape": [...], "pixels": base64}

A question that cannot be answered is answered by {"errors": sentences by field}.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer import duplicates
from trainer.config import TrainConfig
from trainer.describe import describe
from trainer.errors import CheckpointError, ConfigError, DataError
from trainer.models import Shape
from trainer.packing import Bytes, pack, unpack
from trainer.predict import ask, load
from trainer.preview import augmented


def answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        if "network" in question:
            network = describe(TrainConfig.from_dict(question["network"]), Shape(**question["shape"]))
            return {"network": asdict(network)}
        if "predict" in question:
            return _predicted(Path(question["predict"]), unpack(question))
        if "onnx" in question:
            # Only here: it brings ten more modules' worth of waiting.
            from trainer.onnx_export import export

            return asdict(export(Path(question["onnx"]), Path(question["to"]), Path(question["data_dir"])))
        if "duplicates" in question:
            data_dir = Path(question["data_dir"])
            return asdict(duplicates.find(question["duplicates"], data_dir, most=question["most"]))
        config, data_dir = TrainConfig.from_dict(question["augmented"]), Path(question["data_dir"])
        pixels = augmented(config, data_dir, images=question["images"], draws=question["draws"])
        return pack(pixels)
    except ConfigError as error:
        return {"errors": error.errors}
    except CheckpointError as error:
        return {"errors": {"run": str(error)}}
    except DataError as error:
        return {"errors": {"dataset": str(error)}}


def _predicted(weights: Path, pixels: Bytes) -> dict[str, Any]:
    network = load(weights)
    told = ask(network, pixels)
    layer = told.first_layer
    heat = [[round(value, 4) for value in row] for row in told.heat.tolist()]
    return {
        "classes": network.classes,
        "probabilities": told.probabilities,
        "heat": heat,
        "first_layer": layer
        and {
            "name": layer.name,
            "units": layer.units,
            "filters": pack(layer.filters),
            "activations": None if layer.activations is None else pack(layer.activations),
        },
    }


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
