"""The networks, by name. Each takes images [N, C, H, W] and gives logits [N, classes].

This module is free of torch until a network is built: the form is made from `REGISTRY`, and it must not wait for torch.
To add a network, write one function with `@architecture`; what it takes by keyword becomes settings of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.errors import ConfigError
from trainer.options import Option

if TYPE_CHECKING:
    from torch import nn

MODEL = "Model"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network has to fit: images of `channels` x `size` x `size`, told apart into `classes`."""

    channels: int
    size: int
    classes: int


Builder = Callable[..., "nn.Module"]


@dataclass(frozen=True, slots=True)
class Architecture:
    name: str
    label: str
    smallest: int
    """Pixels a side of the smallest image that its layers leave something of."""
    options: tuple[Option, ...]
    """The settings that only this network has; each is called `<architecture>_<keyword>`."""
    builder: Builder

    def keyword(self, option: Option) -> str:
        return option.name.removeprefix(f"{self.name}_")


REGISTRY: dict[str, Architecture] = {}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole-numbered keyword of a network."""

    default: int
    label: str
    help: str
    minimum: int
    maximum: int


def architecture(name: str, label: str, *, smallest: int = 1, **keywords: Whole) -> Callable[[Builder], Builder]:
    """Register a function `(shape, dropout, **keywords) -> nn.Module` under the name that a run chooses it by."""

    def register(builder: Builder) -> Builder:
        options = tuple(
            Option(
                name=f"{name}_{keyword}",
                label=item.label,
                help=item.help,
                group=MODEL,
                kind="integer",
                default=item.default,
                minimum=item.minimum,
                maximum=item.maximum,
                applies=("arch", (name,)),
            )
            for keyword, item in keywords.items()
        )
        REGISTRY[name] = Architecture(name, label, smallest, options, builder)
        return builder

    return register


def build(arch: str, shape: Shape, *, dropout: float, options: Mapping[str, Any]) -> nn.Module:
    """The network with fresh weights. Raises `ConfigError` when the images are too small for it."""
    problem = too_small(arch, shape.size)
    if problem:
        raise ConfigError({"image_size": problem})
    chosen = REGISTRY[arch]
    return chosen.builder(shape, dropout, **options)


def too_small(arch: str, size: int) -> str | None:
    """A sentence where the network's layers leave nothing of an image of so many pixels a side."""
    chosen = REGISTRY[arch]
    return (
        f"{chosen.label.partition(':')[0]} needs at least {chosen.smallest} pixels." if size < chosen.smallest else None
    )


@architecture("net", "Net: the tutorial's CNN", smallest=16)
def net(shape: Shape, dropout: float) -> nn.Module:
    """The tutorial's CNN; its 1024 features at 28 pixels follow the image size here.

    ReLU stands after the pooling instead of before it: the two commute (both keep the order of values), and it
    works on a quarter of them.
    """
    from torch import nn

    from trainer.layers import Dropout

    side = ((shape.size - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(shape.channels, 32, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        Dropout(dropout),
        nn.Conv2d(32, 64, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        Dropout(dropout),
        nn.Flatten(),
        nn.Linear(64 * side * side, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, shape.classes),
    )


@architecture(
    "mlp",
    "MLP: fully connected layers",
    width=Whole(512, "Width", "Units of each hidden layer.", 1, 8192),
    depth=Whole(2, "Depth", "Hidden layers.", 1, 16),
)
def mlp(shape: Shape, dropout: float, *, width: int, depth: int) -> nn.Module:
    """A multi-layer perceptron on the flattened pixels."""
    from torch import nn

    from trainer.layers import Dropout

    layers: list[nn.Module] = [nn.Flatten()]
    features = shape.channels * shape.size**2
    for _ in range(depth):
        layers += [nn.Linear(features, width), nn.ReLU(inplace=True), Dropout(dropout)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, shape.classes))


@architecture("lenet", "LeNet-5: LeCun's CNN of 1998", smallest=12)
def lenet(shape: Shape, dropout: float) -> nn.Module:
    """LeNet-5 (LeCun et al., 1998) with the ReLU and max-pooling that it is trained with today."""
    from torch import nn

    from trainer.layers import Dropout

    side = (shape.size // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(shape.channels, 6, 5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(inplace=True),
        Dropout(dropout),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        Dropout(dropout),
        nn.Linear(84, shape.classes),
    )


@architecture(
    "resnet",
    "ResNet-9: small, with BatchNorm",
    smallest=8,
    width=Whole(32, "Width", "Channels of the first layer; the last has eight times as many.", 4, 256),
)
def resnet(shape: Shape, dropout: float, *, width: int) -> nn.Module:
    """Nine layers with two residual blocks, after David Page's "How to Train Your ResNet" (myrtle.ai, 2018)."""
    from torch import nn

    from trainer.layers import Dropout, Residual, conv_bn

    return nn.Sequential(
        conv_bn(shape.channels, width),
        conv_bn(width, 2 * width, pool=True),
        Residual(2 * width),
        conv_bn(2 * width, 4 * width, pool=True),
        conv_bn(4 * width, 8 * width, pool=True),
        Residual(8 * width),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        Dropout(dropout),
        nn.Linear(8 * width, shape.classes),
    )


@architecture("resnet18", "ResNet-18: torchvision's, for small images", smallest=8)
def resnet18(shape: Shape, dropout: float) -> nn.Module:
    """torchvision's ResNet-18 (He et al., 2015), with the 3x3 stem without pooling that small images ask for."""
    from torch import nn
    from torchvision.models import resnet18 as torchvision_resnet18

    from trainer.layers import Dropout

    network: nn.Module = torchvision_resnet18(num_classes=shape.classes)
    network.conv1 = nn.Conv2d(shape.channels, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    network.fc = nn.Sequential(Dropout(dropout), nn.Linear(512, shape.classes))
    return network
