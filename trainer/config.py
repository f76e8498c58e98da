"""`TrainConfig`: every hyper-parameter of a run, its limits and its words. Free of torch.

The form, the JSON API and the command line are all made from `OPTIONS`, so a field added here appears in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trainer.errors import ConfigError
from trainer.models import MODEL, REGISTRY, too_small
from trainer.options import Kind, Option


def _option(default: Any, *, label: str, help: str, group: str, kind: Kind, **limits: Any) -> Any:
    metadata = {"label": label, "help": help, "group": group, "kind": kind, **limits}
    return field(default=default, metadata=metadata)


DATA, AUGMENTATION, LOSS = "Data", "Augmentation", "Loss"
OPTIMISATION, EXECUTION = "Optimisation", "Execution"
_NUMBER = r"([0-9]{1,9}\.?[0-9]{0,9}|\.[0-9]{1,9})([eE][+-]?[0-9])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One run's hyper-parameters; the defaults are the Fashion-MNIST tutorial's.

    Raises `ConfigError` (errors by field) when it is made with values that cannot be trained with.
    """

    dataset: str = _option(
        "fashion-mnist",
        label="Data set",
        help="fashion-mnist, set:NAME@VERSION for one of your own (without @VERSION its newest), "
        "or csv:NAME for the CSV files in the folder csv/NAME of the data folder.",
        group=DATA,
        kind="dataset",
        pattern=r"fashion-mnist|(csv:|set:)[A-Za-z0-9][A-Za-z0-9_-]{0,63}|set:[A-Za-z0-9][A-Za-z0-9_-]{0,63}@[1-9][0-9]{0,8}",
        mismatch="Must be fashion-mnist, or csv: or set: and a name of letters, digits, - and _, "
        "of a set also @ and its version.",
    )
    csv_shape: str | None = _option(
        None,
        label="CSV image shape",
        help="Height x width, or with channels, e.g. 32x32x3; empty infers it from the number of pixel columns.",
        group=DATA,
        kind="text",
        pattern=r"[1-9][0-9]{0,3}x[1-9][0-9]{0,3}(x[1-9])?",
        mismatch="Must be height x width or height x width x channels, such as 28x28 or 32x32x3.",
        optional=True,
        empty="inferred",
        applies=("dataset", ("csv",)),
    )
    train_size: int | None = _option(
        None,
        label="Training images",
        help="A fixed random subset of this size; empty takes all.",
        group=DATA,
        kind="integer",
        minimum=1,
        maximum=100_000_000,
        optional=True,
        empty="all",
    )
    val_size: int | None = _option(
        None,
        label="Validation images",
        help="A fixed random subset of this size; empty takes all.",
        group=DATA,
        kind="integer",
        minimum=1,
        maximum=100_000_000,
        optional=True,
        empty="all",
    )
    image_size: int = _option(
        28,
        label="Image size",
        help="Pixels a side; images of another size are resized.",
        group=DATA,
        kind="integer",
        minimum=8,
        maximum=224,
    )
    normalize: bool = _option(
        False,
        label="Normalise",
        help="Subtract the training images' mean and divide by their standard deviation, channel by channel.",
        group=AUGMENTATION,
        kind="boolean",
    )
    flip: bool = _option(
        False,
        label="Flip",
        help="Mirror half of the images left to right.",
        group=AUGMENTATION,
        kind="boolean",
    )
    shift: int = _option(
        0,
        label="Shift",
        help="Move by up to so many pixels each way, filling with black.",
        group=AUGMENTATION,
        kind="integer",
        minimum=0,
        maximum=64,
    )
    rotate: float = _option(
        0.0,
        label="Rotate",
        help="Turn by up to so many degrees each way.",
        group=AUGMENTATION,
        kind="number",
        minimum=0.0,
        maximum=180.0,
    )
    erase: float = _option(
        0.0,
        label="Random erasing",
        help="Share of the images of which a random rectangle is blanked.",
        group=AUGMENTATION,
        kind="number",
        minimum=0.0,
        maximum=1.0,
    )
    mix: str = _option(
        "none",
        label="Mix images",
        help="Mixup blends two images and their labels, CutMix pastes a rectangle of one into the other.",
        group=AUGMENTATION,
        kind="choice",
        choices=(("none", "Off"), ("mixup", "Mixup"), ("cutmix", "CutMix")),
    )
    mix_alpha: float = _option(
        0.2,
        label="Mixing strength",
        help="Both parameters of the Beta distribution that the share is drawn from.",
        group=AUGMENTATION,
        kind="number",
        above=0.0,
        maximum=10.0,
        applies=("mix", ("mixup", "cutmix")),
    )
    arch: str = _option(
        "net",
        label="Architecture",
        help="The network to train.",
        group=MODEL,
        kind="choice",
        choices=tuple((item.name, item.label) for item in REGISTRY.values()),
    )
    dropout: float = _option(
        0.3,
        label="Dropout",
        help="Share of activations set to zero in training; 0 turns it off.",
        group=MODEL,
        kind="number",
        minimum=0.0,
        below=1.0,
    )
    arch_options: Mapping[str, int] = field(default_factory=dict)
    """The keywords of the chosen network, e.g. {"width": 64}; what is left out takes its default."""
    label_smoothing: float = _option(
        0.0,
        label="Label smoothing",
        help="Share of the label that is spread over all classes.",
        group=LOSS,
        kind="number",
        minimum=0.0,
        below=1.0,
    )
    class_weights: str | None = _option(
        None,
        label="Class weights",
        help="A number for each class, separated by commas, or balanced: the rarer, the heavier.",
        group=LOSS,
        kind="text",
        pattern=rf"balanced|{_NUMBER}( *, *{_NUMBER}){{1,9999}}",
        mismatch="Must be balanced, or a number from 0 up for each class, separated by commas.",
        optional=True,
        empty="none",
    )
    epochs: int = _option(
        20,
        label="Epochs",
        help="Passes over the training images.",
        group=OPTIMISATION,
        kind="integer",
        minimum=1,
        maximum=10_000,
    )
    batch_size: int = _option(
        256,
        label="Batch size",
        help="Images per step.",
        group=OPTIMISATION,
        kind="integer",
        minimum=1,
        maximum=65_536,
    )
    optimizer: str = _option(
        "adam",
        label="Optimizer",
        help="How the gradients become a step.",
        group=OPTIMISATION,
        kind="choice",
        choices=(("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD"), ("rmsprop", "RMSprop")),
    )
    lr: float = _option(
        1e-3,
        label="Learning rate",
        help="Step size of the optimizer; of a schedule, the highest.",
        group=OPTIMISATION,
        kind="number",
        above=0.0,
        maximum=10.0,
    )
    momentum: float = _option(
        0.9,
        label="Momentum",
        help="Share of the last step that goes into the next; 0 turns it off.",
        group=OPTIMISATION,
        kind="number",
        minimum=0.0,
        below=1.0,
        applies=("optimizer", ("sgd",)),
    )
    nesterov: bool = _option(
        False,
        label="Nesterov",
        help="Look ahead along the momentum.",
        group=OPTIMISATION,
        kind="boolean",
        applies=("optimizer", ("sgd",)),
    )
    weight_decay: float | None = _option(
        None,
        label="Weight decay",
        help="How strongly weights are drawn to zero; empty takes 0.01 for AdamW, else 0.",
        group=OPTIMISATION,
        kind="number",
        minimum=0.0,
        maximum=10.0,
        optional=True,
        empty="the optimizer's own",
    )
    schedule: str = _option(
        "constant",
        label="Schedule",
        help="How the learning rate changes over the run.",
        group=OPTIMISATION,
        kind="choice",
        choices=(("constant", "Constant"), ("step", "Step"), ("cosine", "Cosine"), ("onecycle", "One-cycle")),
    )
    step_epochs: int = _option(
        10,
        label="Step every",
        help="Epochs between two drops of the learning rate.",
        group=OPTIMISATION,
        kind="integer",
        minimum=1,
        maximum=10_000,
        applies=("schedule", ("step",)),
    )
    step_gamma: float = _option(
        0.1,
        label="Step factor",
        help="What each drop multiplies the learning rate by.",
        group=OPTIMISATION,
        kind="number",
        above=0.0,
        maximum=1.0,
        applies=("schedule", ("step",)),
    )
    warmup_epochs: float = _option(
        0.0,
        label="Warm-up",
        help="Epochs in which the learning rate rises; where this is 0, one-cycle takes 30 % of the run.",
        group=OPTIMISATION,
        kind="number",
        minimum=0.0,
        maximum=10_000.0,
    )
    grad_clip: float | None = _option(
        None,
        label="Gradient clipping",
        help="Longest gradient (its norm over all weights) that is not shortened; empty never shortens.",
        group=OPTIMISATION,
        kind="number",
        above=0.0,
        maximum=1e6,
        optional=True,
        empty="off",
    )
    ema_decay: float = _option(
        0.0,
        label="Weight averaging",
        help="Decay per step of a moving average of the weights, which is what is then validated; 0 turns it off.",
        group=OPTIMISATION,
        kind="number",
        minimum=0.0,
        below=1.0,
    )
    patience: int | None = _option(
        None,
        label="Early stopping",
        help="Epochs without a better validation accuracy after which the run ends; empty never ends it early.",
        group=OPTIMISATION,
        kind="integer",
        minimum=1,
        maximum=10_000,
        optional=True,
        empty="off",
    )
    seed: int = _option(
        0,
        label="Seed",
        help="Same seed, same device, same curves.",
        group=EXECUTION,
        kind="integer",
        minimum=0,
        maximum=2**32 - 1,
    )
    device: str = _option(
        "auto",
        label="Device",
        help="Auto takes the first GPU, else the CPU.",
        group=EXECUTION,
        kind="device",
        pattern=r"auto|cpu|cuda:[0-9]{1,3}",
        mismatch="Must be auto, cpu or cuda:0, cuda:1, ...",
    )
    processes: int = _option(
        1,
        label="Processes",
        help="Training processes that share each batch, one GPU each from the device on; 1 trains in one.",
        group=EXECUTION,
        kind="integer",
        minimum=1,
        maximum=64,
    )
    precision: str = _option(
        "auto",
        label="Precision",
        help="Of matrix products; weights stay float32. Auto takes bfloat16 where the device is fast with it.",
        group=EXECUTION,
        kind="choice",
        choices=(("auto", "Auto"), ("float32", "float32"), ("tf32", "TF32 (CUDA)"), ("bfloat16", "bfloat16")),
    )
    cuda_graphs: bool = _option(
        False,
        label="CUDA graphs",
        help="Launch each training step on a GPU as a whole, recorded once, instead of kernel by kernel.",
        group=EXECUTION,
        kind="boolean",
    )
    loading: str = _option(
        "auto",
        label="Loading",
        help="Resident keeps the whole set in the device's memory; DataLoader reads it with worker processes.",
        group=EXECUTION,
        kind="choice",
        choices=(("auto", "Auto"), ("resident", "Resident"), ("dataloader", "DataLoader")),
    )
    num_workers: int = _option(
        4,
        label="Data workers",
        help="Processes that read batches ahead, where the DataLoader is used.",
        group=EXECUTION,
        kind="integer",
        minimum=0,
        maximum=32,
    )

    def __post_init__(self) -> None:
        chosen = REGISTRY.get(self.arch)
        if chosen:
            defaults = {chosen.keyword(option): option.default for option in chosen.options}
            object.__setattr__(self, "arch_options", defaults | dict(self.arch_options))
        errors = validate(self.to_dict())
        if errors:
            raise ConfigError(errors)

    def to_dict(self) -> dict[str, Any]:
        """Flat, by the names of `OPTIONS`; of the networks' own settings those of the chosen one."""
        values = asdict(self)
        own = values.pop("arch_options")
        return values | {f"{self.arch}_{keyword}": value for keyword, value in own.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The reverse of `to_dict`; what is not there takes its default. Raises `ConfigError`.

        Settings of a network that is not the chosen one are checked like the others, and then forgotten.
        """
        errors = validate(values)
        if errors:
            raise ConfigError(errors)
        chosen = REGISTRY[values.get("arch", OPTIONS["arch"].default)]
        own = {chosen.keyword(option): values[option.name] for option in chosen.options if option.name in values}
        return cls(arch_options=own, **{name: value for name, value in values.items() if name not in _OF_NETWORKS})


_OF_NETWORKS = {option.name: option for item in REGISTRY.values() for option in item.options}


def _options() -> dict[str, Option]:
    """In the order of the form: the networks' own settings follow the network."""
    found: dict[str, Option] = {}
    for item in fields(TrainConfig):
        if item.name == "arch_options":
            found |= _OF_NETWORKS
        else:
            found[item.name] = Option(name=item.name, default=item.default, **item.metadata)
    return found


OPTIONS: dict[str, Option] = _options()


def validate(values: Mapping[str, Any]) -> dict[str, str]:
    """Sentences by field for what is wrong with these values; what is left out counts as its default."""
    errors = {name: "Is not a setting of a run." for name in values if name not in OPTIONS}
    for name, option in OPTIONS.items():
        message = option.check(values.get(name, option.default))
        if message is not None:
            errors[name] = message
    return errors or _check_together({name: option.default for name, option in OPTIONS.items()} | dict(values))


def _check_together(values: Mapping[str, Any]) -> dict[str, str]:
    train_size, batch_size = values["train_size"], values["batch_size"]
    if train_size is not None and batch_size > train_size:
        return {
            "batch_size": f"Is larger than the {train_size:,} training images: "
            "the last incomplete batch is dropped, so nothing would be trained."
        }
    if values["processes"] > batch_size:
        return {"processes": f"Is more than the {batch_size:,} images of a batch: some would have nothing to do."}
    if values["cuda_graphs"] and values["device"] == "cpu":
        return {"cuda_graphs": "Needs a GPU, and the device is the CPU."}
    if values["cuda_graphs"] and values["processes"] > 1:
        return {"cuda_graphs": "Works in one process only."}
    if values["nesterov"] and values["optimizer"] == "sgd" and values["momentum"] == 0:
        return {"nesterov": "Needs a momentum greater than 0."}
    if problem := too_small(values["arch"], values["image_size"]):
        return {"image_size": problem}
    if values["shift"] * 2 > values["image_size"]:
        return {"shift": f"Is more than half of the {values['image_size']} pixels: little of an image would be left."}
    if values["warmup_epochs"] >= values["epochs"]:
        return {"warmup_epochs": f"Must be less than the {values['epochs']:,} epochs of the run."}
    return {}
