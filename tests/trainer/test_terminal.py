"""`python -m trainer`: the same training in a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from app.config import ROOT
from trainer.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_prints_a_line_an_epoch(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data-dir", str(data_dir), "--epochs", "2", "--train-size", "512", "--val-size", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    assert lines[-1].startswith("Finished 2 epochs")
    table = lines[-12:-1]
    assert table[0].split() == ["class", "precision", "recall", "F1", "images"]
    assert [line.split("  ")[0] for line in table[1:3]] == ["T-shirt/top", "Trouser"]
    assert sum(int(line.split()[-1]) for line in table[1:]) == 100


def test_it_shows_the_layers_of_a_network_and_does_not_train(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data-dir", str(data_dir), "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["0", "Conv2d", "32", "x", "24", "x", "24", "832", "921,600"]
    assert "582,026" in lines[-1]
    assert main(["--data-dir", str(data_dir), "--layers", "--arch", "lenet", "--image-size", "8"]) == 2
    assert "--image-size: LeNet-5 needs at least 12 pixels." in capsys.readouterr().err


def test_settings_that_cannot_be_used_are_named_by_their_flag(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data-dir", str(data_dir), "--lr", "-1", "--batch-size", "0"]) == 2
    said = capsys.readouterr().err
    assert "--lr: Must be greater than 0." in said
    assert "--batch-size: Must be at least 1." in said


def test_a_missing_data_set_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data-dir", str(tmp_path)]) == 1
    assert "Run `make data`" in capsys.readouterr().err


def test_ctrl_c_ends_it_cleanly_and_the_same_command_goes_on_within_the_epoch(data_dir: Path, tmp_path: Path):
    command = [sys.executable, "-m", "trainer", "--data-dir", str(data_dir), "--run-dir", str(tmp_path)]
    command += ["--train-size", "20480", "--val-size", "100", "--epochs", "500"]
    for _ in range(2):
        errors, began = interrupted(command)
        assert "Stopped after" in errors
        assert f"saved in {tmp_path}" in errors
        assert "Traceback" not in errors
    assert "resuming after epoch 1" in began


def interrupted(command: list[str]) -> tuple[str, str]:
    """What it said of its end and of its beginning, when Ctrl-C came after an epoch."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdout is not None
        began = process.stdout.readline()
        while not process.stdout.readline().startswith("epoch "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    return errors, began
