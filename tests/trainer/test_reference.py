"""Fitroom's trainer beside the tutorial's own script; the long form is `make bench-accuracy`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import torch

from app.config import ROOT
from benchmarks.accuracy import REFERENCE, WAYS, report, settings_of
from benchmarks.tutorial import Tutorial
from trainer.config import TrainConfig
from trainer.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path


def test_the_fast_path_is_as_accurate_as_the_tutorials_script(run, data_dir: Path):  # noqa: ANN001
    """A tenth of the images, three epochs, two seeds: seeds alone move this by one or two points."""
    ours, theirs = [], []
    for seed in (0, 1):
        script = Tutorial(data_dir, torch.device("cpu"), num_workers=0, seed=seed, train_size=6000, val_size=2000)
        theirs.append([epoch.val_accuracy for epoch in script.epochs(3)][-1])
        trained = run(train_size=6000, val_size=2000, batch_size=256, epochs=3, seed=seed)
        ours.append(trained.epochs[-1].val_accuracy)
    assert statistics.mean(ours) > statistics.mean(theirs) - 0.03
    assert min(ours) > 0.68


def test_every_preset_is_a_configuration_that_can_be_trained_with():
    for preset in PRESETS.values():
        config = TrainConfig.from_dict(preset.changes)
        assert preset.values == {**preset.values, **config.to_dict()}


def test_the_report_tells_mean_and_spread_and_how_each_result_was_got():
    row = {
        "way": REFERENCE, "settings": {}, "precision": "float32", "parameters": 582_026, "seconds": 60.0,
        "device": "a processor", "versions": "torch 1", "revision": "abc", "date": "2026-01-01",
    }  # fmt: skip
    text = report([{**row, "seed": seed, "accuracies": [0.8, 0.85, 0.9 + seed / 100]} for seed in (0, 1)])
    assert "| 2 | **90.50** | 90.00 – 91.00 | 80.0%, 90.5% | 582,026 | 1.0 |" in text
    assert "a processor, torch 1, revision abc" in text
    assert all(isinstance(settings_of(way), dict) for way in WAYS)


def test_the_benchmark_of_the_trainer_measures_a_way_in_a_process_of_its_own(data_dir: Path):
    command = [sys.executable, "-m", "benchmarks.trainer", "--one", "a thousand images", "--epochs", "1"]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir.absolute())], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    rates = [line["epoch"][0] for line in lines if "epoch" in line]
    assert len(rates) == 2
    assert min(rates) > 0
    assert next(line["memory_mb"] for line in lines if "memory_mb" in line) >= 0
