"""Event files of TensorBoard's writers are read as they were meant; damaged ones are refused with the place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange.eventfile import DamagedFile, EventWriter, HParams, Scalar, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.out.tfevents.1"
    with path.open("wb") as out:
        writer = EventWriter(out, wall_time=1.0)
        writer.hparams({"lr": 0.5, "arch": "net", "flip": True, "train_size": None}, 1.0)
        writer.text("about", "**bold**", 1.0)
        for step in range(3):
            writer.scalar("loss", step, step / 2, 10.0 + step)
    return path


def test_what_was_written_is_read_zero_included(file: Path):
    first, *scalars = read(file)
    assert first == HParams({"lr": 0.5, "arch": "net", "flip": True})
    assert scalars == [Scalar("loss", step, step / 2, 10.0 + step) for step in range(3)]


def test_torchs_own_writer_is_understood(tmp_path: Path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss/train", 0.0, 3, walltime=5.0)
        writer.add_scalar("loss/train", 0.25, 4, walltime=6.0, new_style=True)
        writer.add_text("about", "a text")
        writer.add_histogram("weights", np.array([1.0, 2.0]), 1)
        writer.add_hparams({"lr": 0.1, "optimizer": "sgd"}, {"hparam/acc": 0.5}, run_name="h")
    (file,) = tmp_path.glob("events*")
    assert list(read(file)) == [Scalar("loss/train", 3, 0.0, 5.0), Scalar("loss/train", 4, 0.25, 6.0)]
    (hparams,) = (tmp_path / "h").glob("events*")
    found = list(read(hparams))
    assert HParams({"lr": 0.1, "optimizer": "sgd"}) in found


def test_a_record_that_is_still_being_written_is_left_out(file: Path):
    whole = file.read_bytes()
    for cut in (1, 5, 20):
        file.write_bytes(whole[:-cut])
        assert len(list(read(file))) == 3


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_bit_that_is_turned_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int):
    path = tmp_path_factory.mktemp("bits") / "events.out.tfevents.1"
    with path.open("wb") as out:
        writer = EventWriter(out, wall_time=1.0)
        writer.scalar("loss", 1, 0.5, 2.0)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"record"):
        list(read(path))


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"this is no event file at all")
    with pytest.raises(DamagedFile, match="at byte 0"):
        list(read(path))
