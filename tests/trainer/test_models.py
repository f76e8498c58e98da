"""The tutorial's network is the tutorial's function, whatever its order of operations."""

from __future__ import annotations

import torch
from torch import nn

from trainer.config import TrainConfig
from trainer.models import Dropout, Shape, build


def test_the_net_computes_what_the_tutorials_net_computes():
    ours = build(TrainConfig(), Shape(channels=1, size=28, classes=10)).eval()
    theirs = nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2, stride=2), nn.Dropout(0.3),
        nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2, stride=2), nn.Dropout(0.3),
        nn.Flatten(), nn.Linear(64 * 4 * 4, 512), nn.ReLU(), nn.Linear(512, 10),
    ).eval()  # fmt: skip
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.data.copy_(mine.data)
    images = torch.rand(16, 1, 28, 28)
    torch.testing.assert_close(ours(images), theirs(images))


def test_dropout_keeps_the_expectation_and_drops_the_asked_share():
    torch.manual_seed(0)
    dropout = Dropout(0.3).train()
    for x in (torch.ones(64, 32, 12, 12), torch.ones(64, 32, 12, 12).contiguous(memory_format=torch.channels_last)):
        y = dropout(x)
        share = (y == 0).float().mean().item()
        assert abs(share - 0.3) < 0.003
        assert abs(y.mean().item() - 1) < 0.005
        assert y.stride() == x.stride()
        # Neighbours are dropped independently of each other.
        both = ((y[..., 1:] == 0) & (y[..., :-1] == 0)).float().mean().item()
        assert abs(both - 0.09) < 0.003


def test_dropout_passes_everything_in_evaluation():
    x = torch.rand(4, 3)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)
