"""`python -m trainer`: the same training in a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from app.config import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def trainer(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", "--data-dir", str(data_dir), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)


def test_it_prints_a_line_an_epoch(data_dir: Path):
    done = trainer("--epochs", "2", "--train-size", "512", "--val-size", "100", data_dir=data_dir)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    assert lines[-1].startswith("Finished 2 epochs")


def test_settings_that_cannot_be_used_are_named_by_their_flag(data_dir: Path):
    done = trainer("--lr", "-1", "--batch-size", "0", data_dir=data_dir)
    assert done.returncode == 2
    assert "--lr: Must be greater than 0." in done.stderr
    assert "--batch-size: Must be at least 1." in done.stderr


def test_a_missing_data_set_is_one_sentence_and_no_traceback(tmp_path: Path):
    done = trainer(data_dir=tmp_path)
    assert done.returncode == 1
    assert "Run `make data`" in done.stderr
    assert "Traceback" not in done.stderr


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
