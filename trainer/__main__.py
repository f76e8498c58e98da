"""The same training in a terminal, with a progress bar: no web, no database. `python -m trainer --epochs 2`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

from tqdm import tqdm

from trainer import tables
from trainer.config import OPTIONS, TrainConfig
from trainer.errors import ConfigError, TrainerError
from trainer.events import CheckpointFailed, EpochDone, Finished, Started, Steps
from trainer.loop import train
from trainer.options import Option
from trainer.presets import PRESETS
from trainer.sources import resolve


def main(argv: Sequence[str] | None = None, *, data_dir: Path | None = None) -> int:
    """0: finished; 1: it went wrong; 2: settings that cannot be used; 130: Ctrl-C."""
    arguments = vars(_parser(data_dir).parse_args(argv))
    where, run_dir, layers = (arguments.pop(name) for name in ("data_dir", "run_dir", "layers"))
    try:
        preset = PRESETS[arguments.pop("preset")].changes
        chosen = {name: value for name, value in arguments.items() if value is not None}
        config = TrainConfig.from_dict({**preset, **chosen})
        # A checkpoint must say which version it belongs to.
        config = replace(config, dataset=resolve(config.dataset, where))
        if layers:
            print(tables.layers(config, where))
            return 0
        with _ctrl_c() as asked:
            stopped = _follow(config, where, run_dir, asked.is_set)
    except ConfigError as error:
        for name, message in error.errors.items():
            print(f"--{name.replace('_', '-')}: {message}", file=sys.stderr)
        return 2
    except TrainerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 130 if stopped else 0


def _parser(data_dir: Path | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train", description="Train an image classifier in this terminal.")
    parser.add_argument("--data-dir", type=Path, default=data_dir or Path("var/data"), help="where data sets are")
    parser.add_argument("--run-dir", type=Path, help="where checkpoints go; a run found there is resumed")
    parser.add_argument("--preset", choices=list(PRESETS), default="tutorial", help="settings to start from")
    parser.add_argument("--layers", action="store_true", help="show what the network is made of, and do not train")
    for option in OPTIONS.values():
        parser.add_argument(f"--{option.name.replace('_', '-')}", **_argument(option))
    return parser


def _argument(option: Option) -> dict[str, Any]:
    default = option.empty if option.default is None else option.default
    argument: dict[str, Any] = {"help": f"{option.help} [{default}]".replace("%", "%%")}
    if option.kind == "boolean":
        return argument | {"action": argparse.BooleanOptionalAction}
    if option.choices:
        return argument | {"choices": [value for value, _ in option.choices]}
    return argument | {"type": {"integer": int, "number": float}.get(option.kind, str), "metavar": "X"}


@contextmanager
def _ctrl_c() -> Iterator[Event]:
    """Set by the first: the step is finished and the state saved. The second ends it at once, as ever."""
    asked, before = Event(), signal.getsignal(signal.SIGINT)

    def first(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(config: TrainConfig, data_dir: Path, run_dir: Path | None, should_stop: Callable[[], bool]) -> bool:
    """Train and tell; whether it was stopped."""
    bar: tqdm[Any] | None = None
    last: EpochDone | None = None
    stopped = False
    try:
        for event in train(config, data_dir=data_dir, run_dir=run_dir, should_stop=should_stop):
            match event:
                case Started():
                    print(_started(event), flush=True)
                    steps = event.steps_per_epoch
                    bar = tqdm(
                        total=config.epochs * steps, initial=event.epochs_before * steps, unit="step", disable=None
                    )
                case Steps() if bar is not None:
                    bar.set_description(f"epoch {event.epoch}/{config.epochs}, loss {event.losses[-1]:.4f}")
                    bar.update(len(event.losses))
                case EpochDone() if bar is not None:
                    last = event
                    bar.write(_epoch(event, config))
                    sys.stdout.flush()
                case CheckpointFailed() if bar is not None:
                    bar.write(f"Warning: {event.message}", file=sys.stderr)
                case Finished():
                    if bar is not None:
                        bar.close()
                    stopped = event.reason == "stopped"
                    if last and not stopped:
                        print(tables.classes(config, data_dir, last.predictions))
                    print(_finished(event, run_dir), file=sys.stderr if stopped else sys.stdout)
    finally:
        if bar is not None:
            bar.close()
    return stopped


def _finished(event: Finished, run_dir: Path | None) -> str:
    if event.reason != "stopped":
        return f"Finished {_epochs(event.epochs)} in {event.seconds:.1f} s."
    kept = f" The same command goes on from there, with what is saved in {run_dir}." if run_dir else ""
    return f"Stopped after {_epochs(event.epochs)}.{kept}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _started(event: Started) -> str:
    within = f", step {event.steps_before} of the next" if event.steps_before else ""
    resumed = f", resuming after epoch {event.epochs_before}{within}" if event.epochs_before or within else ""
    resumed += f". {event.warning}" if event.warning else ""
    return (
        f"{event.device} ({event.device_name}), {event.parameters:,} parameters, "
        f"{event.flops_per_image / 1e6:,.1f} MFLOP to train on an image, "
        f"{event.train_samples:,} + {event.val_samples:,} images, {event.loading}{resumed}"
    )


def _epoch(event: EpochDone, config: TrainConfig) -> str:
    return (
        f"epoch {event.epoch}/{config.epochs}  "
        f"train {event.train_loss:.4f} {event.train_accuracy:.2%}  val {event.val_loss:.4f} {event.val_accuracy:.2%}  "
        f"{event.seconds:.1f} s  {event.images_per_s:,.0f} images/s"
    )


if __name__ == "__main__":
    sys.exit(main())
