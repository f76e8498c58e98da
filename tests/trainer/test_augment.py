"""What the transforms do to real images, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer import augment, sources
from trainer.augment import Transform
from trainer.config import TrainConfig
from trainer.data import open_split

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(data_dir: Path) -> Tensor:
    stored = sources.load("fashion-mnist", "train", data_dir).images[:256]
    return torch.from_numpy(np.array(stored)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(256) % 10


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_a_flip_mirrors_about_half_and_leaves_the_rest(images: Tensor):
    flipped = augment.flip(images, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 90 < mirrored.sum() < 166


def test_a_shift_moves_whole_images_and_fills_with_black(images: Tensor):
    moved = augment.shift(images, 3, generator())
    seen = set()
    for before, after in zip(images[:, 0], moved[:, 0], strict=True):
        padded = torch.nn.functional.pad(before, (3, 3, 3, 3))
        places = [(y, x) for y in range(7) for x in range(7) if torch.equal(padded[y : y + 28, x : x + 28], after)]
        assert places
        seen.update(places[:1])
    assert len(seen) > 40


def test_a_rotation_by_nothing_changes_nothing_and_keeps_the_middle(images: Tensor):
    x = augment.to_float(images)
    torch.testing.assert_close(augment.rotate(x, 0.0, generator()), x, atol=1e-5, rtol=0)
    turned = augment.rotate(x, 30.0, generator())
    assert (turned - x).abs().mean() > 0.01
    torch.testing.assert_close(turned.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=0.08, rtol=0)


def test_erasing_blanks_one_rectangle_of_the_asked_share(images: Tensor):
    ones = torch.ones(2000, 1, 28, 28)
    erased = augment.erase(ones, 0.4, generator())[:, 0] == 0
    touched = erased.flatten(1).any(1)
    assert abs(touched.float().mean().item() - 0.4) < 0.04
    for hole in erased[touched][:200]:
        rows, columns = hole.any(1).nonzero(), hole.any(0).nonzero()
        inside = hole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert inside.all()
        assert 0.01 < hole.float().mean().item() < 0.4


def test_mixup_blends_images_and_tells_both_labels(images: Tensor, labels: Tensor):
    transform = Transform(TrainConfig(mix="mixup", mix_alpha=1.0), CPU)
    transform.start(1)
    transform.draw()
    x, targets = transform.for_training(images, labels)
    assert targets.other is not None
    assert targets.share is not None
    assert 0 < targets.share < 1
    partner = (targets.other[:, None] == labels).int()
    assert (partner.sum(1) > 0).all()
    assert torch.equal(targets.labels, labels)
    # Its mean brightness is that of the batch, because every image is the partner of one other.
    torch.testing.assert_close(x.mean(), augment.to_float(images).mean())


def test_cutmix_takes_a_rectangle_and_the_true_share(images: Tensor):
    x, other = torch.zeros(4, 1, 28, 28), torch.ones(4, 1, 28, 28)
    for seed in range(50):
        (top, height, left, width), share = augment.draw_rectangle(28, 0.6, np.random.default_rng(seed))
        mixed = augment.cutmix(x, other, torch.tensor([top, height, left, width]))
        assert mixed[:, :, top : top + height, left : left + width].all()
        assert mixed.mean().item() == pytest.approx(1 - share)
        assert torch.equal(x, torch.zeros_like(x))


def test_a_share_and_what_is_left_of_it_are_exact_in_float32():
    """What a tensor on the device holds is what Python computed, so a script with plain numbers trains the same."""
    random = np.random.default_rng(0)
    for share in [augment.draw_share(0.2, random) for _ in range(200)]:
        kept = torch.tensor(share)
        assert (kept.item(), (1 - kept).item()) == (share, 1 - share)


@pytest.mark.parametrize(
    "settings",
    [{"flip": True, "shift": 2, "rotate": 10.0, "erase": 0.5, "mix": "cutmix"}, {"mix": "mixup"}],
    ids=["all", "mixup"],
)
def test_the_same_seed_and_epoch_draw_the_same(images: Tensor, labels: Tensor, settings: dict[str, object]):
    def drawn(seed: int, epoch: int) -> Tensor:
        transform = Transform(TrainConfig(seed=seed, **settings), CPU)  # type: ignore[arg-type]
        transform.start(epoch)
        batches = []
        for _ in range(2):
            transform.draw()
            batches.append(transform.for_training(images, labels)[0])
        return torch.cat(batches)

    assert torch.equal(drawn(3, 2), drawn(3, 2))
    assert not torch.equal(drawn(3, 2), drawn(3, 3))
    assert not torch.equal(drawn(3, 2), drawn(4, 2))


def test_normalised_training_images_have_mean_0_and_deviation_1(data_dir: Path):
    split = open_split(TrainConfig(train_size=5000), "train", data_dir, CPU)
    transform = Transform(TrainConfig(normalize=True), CPU, split.statistics())
    x = torch.cat([transform.for_validation(images) for images, _ in split.in_order()])
    assert abs(x.mean().item()) < 1e-4
    assert abs(x.std().item() - 1) < 1e-4


def test_images_all_alike_are_normalised_without_dividing_by_zero():
    statistics = augment.Statistics((0.5,), (1.0,))
    x = Transform(TrainConfig(normalize=True), CPU, statistics).for_validation(torch.full((2, 1, 4, 4), 128).byte())
    assert x.isfinite().all()


def test_validation_images_are_never_augmented(images: Tensor):
    everything = TrainConfig(flip=True, shift=4, rotate=90.0, erase=1.0, mix="mixup")
    assert torch.equal(Transform(everything, CPU).for_validation(images), augment.to_float(images))
