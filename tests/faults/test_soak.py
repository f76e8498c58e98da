"""The short form of `make soak`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.soak import Soak

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_random_kills_lose_no_epoch_and_double_none(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    counts = Soak(tmp_path / "home", data_dir, workers=2, seed=3).run(kills=4)
    assert counts["integrity_check"] == "ok"
    assert isinstance(counts["runs, all finished"], int)
    assert counts["runs, all finished"] >= 4
