"""The networks: each fits any images and classes, and the tutorial's is the tutorial's function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainer.config import TrainConfig
from trainer.describe import describe
from trainer.errors import ConfigError
from trainer.helper import answer
from trainer.layers import Dropout
from trainer.models import REGISTRY, Shape, build

GREY = Shape(channels=1, size=28, classes=10)


def made(arch: str, shape: Shape, **options: int) -> nn.Module:
    chosen = REGISTRY[arch]
    defaults = {chosen.keyword(option): option.default for option in chosen.options}
    return build(arch, shape, dropout=0.3, options=defaults | options)


@pytest.mark.parametrize("arch", list(REGISTRY))
@pytest.mark.parametrize("shape", [GREY, Shape(3, 16, 2), Shape(3, 37, 5), Shape(1, 16, 1)], ids=str)
def test_every_network_fits_any_channels_size_and_classes(arch: str, shape: Shape):
    network = made(arch, shape, **({"width": 4} if arch == "resnet" else {}))
    logits = network(torch.rand(2, shape.channels, shape.size, shape.size))
    assert logits.shape == (2, shape.classes)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("arch", list(REGISTRY))
def test_every_network_works_at_its_smallest_size_and_refuses_a_smaller_one(arch: str):
    smallest = REGISTRY[arch].smallest
    assert made(arch, Shape(1, smallest, 3)).eval()(torch.rand(1, 1, smallest, smallest)).shape == (1, 3)
    if smallest > 1:
        with pytest.raises(ConfigError) as caught:
            made(arch, Shape(1, smallest - 1, 3))
        assert f"at least {smallest} pixels" in caught.value.errors["image_size"]


@pytest.mark.parametrize("arch", list(REGISTRY))
def test_every_network_is_described_as_it_is(arch: str):
    config = TrainConfig(arch=arch)
    network, told = made(arch, GREY), describe(config, GREY)
    assert told.parameters == sum(weight.numel() for weight in network.parameters())
    assert sum(layer.parameters for layer in told.layers) == told.parameters
    assert told.layers[-1].output == (10,)
    assert 2 * told.flops < told.training_flops <= 3 * told.flops


def test_the_tutorials_network_is_described_layer_by_layer():
    layers = {layer.name: layer for layer in describe(TrainConfig(), GREY).layers}
    assert (layers["0"].kind, layers["0"].output, layers["0"].parameters) == ("Conv2d", (32, 24, 24), 832)
    assert layers["0"].flops == 2 * 24 * 24 * 25 * 32
    assert (layers["9"].kind, layers["9"].parameters, layers["9"].flops) == ("Linear", 1024 * 512 + 512, 2 * 1024 * 512)


def test_a_question_about_a_network_that_does_not_fit_is_answered_by_field():
    question = {"network": {"arch": "net", "image_size": 16}, "shape": {"channels": 1, "size": 12, "classes": 10}}
    assert answer(question) == {"errors": {"image_size": "Net needs at least 16 pixels."}}


def test_the_net_computes_what_the_tutorials_net_computes():
    ours = build("net", GREY, dropout=0.3, options={}).eval()
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
