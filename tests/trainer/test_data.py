"""Reading the files and making batches of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import sources
from trainer.config import TrainConfig
from trainer.data import Part, open_split, permutation
from trainer.errors import DataError, DataMissing

if TYPE_CHECKING:
    from pathlib import Path


def test_fashion_mnist_is_read_as_torchvision_reads_it(data_dir: Path):
    from torchvision.datasets import FashionMNIST

    theirs, ours = FashionMNIST(str(data_dir), train=False), sources.load("fashion-mnist", "val", data_dir)
    assert (ours.images[..., 0] == theirs.data.numpy()).all()
    assert (ours.labels == theirs.targets.numpy()).all()
    assert list(ours.classes) == theirs.classes


@given(st.integers(1, 400), st.integers(1, 64), st.integers(0, 2**32 - 1), st.integers(1, 1000))
@settings(max_examples=50, deadline=None)
def test_every_sample_comes_exactly_once_an_epoch(samples: int, batch: int, seed: int, epoch: int):
    order = permutation(samples, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(samples))
    seen = [place for part in order.split(batch) if len(part) == batch for place in part.tolist()]
    assert len(seen) == len(set(seen)) == samples // batch * batch


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_however_it_is_loaded_shared_and_taken_up_again_each_image_of_an_epoch_comes_once(
    data_dir: Path, data: st.DataObject
):
    """Batch by batch: what several processes take of it together is what one would."""
    samples = data.draw(st.integers(1, 90), "samples")
    batch = data.draw(st.integers(1, samples), "batch size")
    processes = data.draw(st.integers(1, min(3, batch)), "processes")
    skip = data.draw(st.integers(0, samples // batch), "steps done")
    config = TrainConfig(
        train_size=samples, batch_size=batch, num_workers=0, seed=data.draw(st.integers(0, 99), "seed"),
        loading=data.draw(st.sampled_from(["resident", "dataloader"]), "loading"),
    )  # fmt: skip
    taken: list[list[bytes]] = [[] for _ in range(samples // batch - skip)]
    for rank in range(processes):
        split = open_split(config, "train", data_dir, torch.device("cpu"), Part(rank, processes))
        inputs = list(split.train_inputs(3, skip=skip))
        assert len(inputs) == len(taken)
        for place, given_ in enumerate(inputs):
            images, labels = split.batch(*given_)
            assert len(images) == len(labels)
            taken[place] += [image.numpy().tobytes() for image in images]
    chosen = sources.load("fashion-mnist", "train", data_dir).images[sources.subset_indices(60_000, samples)]
    order = permutation(samples, seed=config.seed, epoch=3)
    for place, images in enumerate(taken, skip):
        whole = order[place * batch : (place + 1) * batch]
        assert sorted(images) == sorted(chosen[index].tobytes() for index in whole.tolist())


@pytest.mark.parametrize("loading", ["resident", "dataloader"])
def test_a_split_in_order_is_the_files_order(data_dir: Path, loading: str):
    config = TrainConfig(loading=loading, val_size=1500, num_workers=0)
    split = open_split(config, "val", data_dir, torch.device("cpu"))
    images, labels = (torch.cat(parts) for parts in zip(*split.in_order(), strict=True))
    files = sources.load("fashion-mnist", "val", data_dir)
    chosen = sources.subset_indices(10_000, 1500)
    assert (labels.numpy() == files.labels[chosen]).all()
    assert (images[:, 0].numpy() == files.images[chosen][..., 0]).all()
    split.close()


def test_a_subset_is_the_same_for_every_run_and_holds_every_class(data_dir: Path):
    one, other = sources.subset_indices(60_000, 500), sources.subset_indices(60_000, 500)
    assert (one == other).all()
    assert len(set(one.tolist())) == 500
    assert set(sources.load("fashion-mnist", "train", data_dir).labels[one].tolist()) == set(range(10))


def idx(*shape: int, body: bytes = b"", kind: int = 8) -> bytes:
    return bytes((0, 0, kind, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file"),
        (b"\0\0\x08", "is not an IDX file"),
        (idx(2, 2, body=bytes(4)), "is not an IDX file of 1 dimensions"),
        (idx(4, body=bytes(4), kind=9), "is not an IDX file"),
        (idx(4, body=bytes(3)), "cut short"),
        (idx(4, body=bytes(5)), "too long"),
        (idx(2**32 - 1), "cut short"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        sources.read_idx(path, dimensions=1)


def test_a_file_that_is_not_there_says_how_to_get_it(tmp_path: Path):
    with pytest.raises(DataMissing, match="Run `make data`"):
        sources.read_idx(tmp_path / "none", dimensions=1)


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_array_or_an_error_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    outcome = read(path)
    assert isinstance(outcome, str) or outcome.ndim == 1


def read(path: Path) -> np.ndarray | str:
    try:
        return sources.read_idx(path, dimensions=1)
    except DataError as error:
        return str(error)


def test_large_images_are_validated_fewer_at_a_time(data_dir: Path):
    """A thousand of 224 x 224 would take 200 MB in numbers of four bytes, and in colour three times that."""
    config = TrainConfig(image_size=224, val_size=700, loading="resident")
    split = open_split(config, "val", data_dir, torch.device("cpu"))
    assert [len(labels) for _, labels in split.in_order()] == [668, 32]
