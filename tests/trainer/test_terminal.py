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


def test_settings_that_cannot_be_used_are_named_by_their_flag(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data-dir", str(data_dir), "--lr", "-1", "--batch-size", "0"]) == 2
    said = capsys.readouterr().err
    assert "--lr: Must be greater than 0." in said
    assert "--batch-size: Must be at least 1." in said


def test_a_missing_data_set_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data-dir", str(tmp_path)]) == 1
    assert "Run `make data`" in capsys.readouterr().err


def test_ctrl_c_ends_it_cleanly(data_dir: Path):
    command = [sys.executable, "-m", "trainer", "--data-dir", str(data_dir), "--train-size", "2048", "--epochs", "500"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("epoch 1/"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopped." in errors
    assert "Traceback" not in errors
