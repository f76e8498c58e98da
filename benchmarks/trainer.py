"""Fitroom's trainer against the tutorial's own script, side by side: `make bench-trainer`.

    python -m benchmarks.trainer --device cuda     on a machine with torch, torchvision, numpy and pandas alone

Each round trains every way for one warm-up epoch (not counted) and `--epochs` counted ones, one way after another, in
processes of their own; rounds alternate the order. A rate is training images per second of an epoch's training part;
the table shows the median over all counted epochs of all rounds, and its ratio to the tutorial as given (4 workers).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.revision import ROOT, revision
from trainer import devices
from trainer.config import TrainConfig
from trainer.events import EpochDone, Started
from trainer.loop import train


@dataclass(frozen=True)
class Measured:
    """One counted epoch: training images per second, and seconds of training and validation together."""

    images_per_s: float
    seconds: float


Way = Callable[[str, Path, int], Iterator[Measured]]
"""(device, data folder, epochs) -> every epoch, the first included."""


def tutorial(workers: int) -> Way:
    def go(device: str, data_dir: Path, epochs: int) -> Iterator[Measured]:
        from benchmarks.tutorial import Tutorial

        script = Tutorial(data_dir, torch.device(device), num_workers=workers)
        for epoch in script.epochs(epochs):
            yield Measured(epoch.images / epoch.train_seconds, epoch.train_seconds + epoch.val_seconds)

    return go


def fitroom(**settings: object) -> Way:
    def go(device: str, data_dir: Path, epochs: int) -> Iterator[Measured]:
        config = TrainConfig.from_dict({"device": device, "epochs": epochs, **settings})
        for event in train(config, data_dir=data_dir):
            if isinstance(event, Started):
                rate = event.matmul_flops_per_s
                note = {"matmul_gflops": rate / 1e9, "flops_per_image": event.flops_per_image}
                print(json.dumps({"started": note}), flush=True)
            if isinstance(event, EpochDone):
                yield Measured(event.images_per_s, event.seconds)

    return go


AS_GIVEN = "tutorial, 4 workers"
WAYS: dict[str, Way] = {
    AS_GIVEN: tutorial(4),
    "tutorial, 0 workers": tutorial(0),
    "tutorial, 1 worker": tutorial(1),
    "tutorial, 2 workers": tutorial(2),
    "fitroom": fitroom(loading="resident"),
    "fitroom, float32": fitroom(loading="resident", precision="float32"),
    "fitroom, DataLoader, 2 workers": fitroom(loading="dataloader", num_workers=2),
}
QUICK = {"a thousand images": fitroom(loading="resident", train_size=1000, val_size=100)}
"""Not measured: for the test of this program."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1, help="counted epochs a round")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--out", type=Path, help="write the table there as Markdown too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = "cuda:0" if arguments.device == "cuda" else arguments.device
    if arguments.one:
        _one(arguments.one, device, arguments.data_dir, arguments.epochs + 1)
        return
    found: dict[str, list[Measured]] = {name: [] for name in arguments.ways}
    memory: dict[str, float] = {}
    facts: dict[str, float] = {}
    for number in range(arguments.rounds):
        names = list(arguments.ways)
        for name in names if number % 2 == 0 else reversed(names):
            epochs, memory[name], told = _in_a_process(name, device, arguments.data_dir, arguments.epochs)
            found[name] += epochs
            facts |= told if name == "fitroom" else {}
            print(f"round {number + 1}  {name:<32} {_rate(epochs):8,.0f} images/s", flush=True)
    report = _report(found, memory, facts, device, arguments.rounds, arguments.epochs)
    print(f"\n{report}")
    if arguments.out:
        arguments.out.write_text(report)


def _one(name: str, device: str, data_dir: Path, epochs: int) -> None:
    """In the child: every epoch as a line of JSON, and the process's memory at the end."""
    before = _rss_mb()
    for measured in (WAYS | QUICK)[name](device, data_dir, epochs):
        print(json.dumps({"epoch": [measured.images_per_s, measured.seconds]}), flush=True)
    print(json.dumps({"memory_mb": _rss_mb() - before}), flush=True)


def _rss_mb() -> float:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_a_process(
    name: str, device: str, data_dir: Path, epochs: int
) -> tuple[list[Measured], float, dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.trainer", "--one", name, "--device", device]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir), "--epochs", str(epochs)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    measured = [Measured(*line["epoch"]) for line in lines if "epoch" in line][1:]
    told: dict[str, float] = next((line["started"] for line in lines if "started" in line), {})
    return measured, next(line["memory_mb"] for line in lines if "memory_mb" in line), told


def _rate(epochs: list[Measured]) -> float:
    return statistics.median(epoch.images_per_s for epoch in epochs)


def _report(
    found: dict[str, list[Measured]],
    memory: dict[str, float],
    facts: dict[str, float],
    device: str,
    rounds: int,
    epochs: int,
) -> str:
    base = _rate(found[AS_GIVEN]) if AS_GIVEN in found else None
    best = max((_rate(found[name]) for name in found if name.startswith("tutorial")), default=None)
    code = f"revision {known}" if (known := revision()) else "no revision known"
    lines = [
        f"{devices.name_of(torch.device(device))}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {code}, {datetime.now(UTC).date()}; "
        f"{rounds} alternating rounds of {epochs} counted epoch(s), batches of 256, all 60,000 images.",
        "",
        "| way | images/s | lowest to highest | epoch, s | to 4 workers | to its best | memory above torch's, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, measured in found.items():
        rates = sorted(epoch.images_per_s for epoch in measured)
        rate, seconds = statistics.median(rates), statistics.median(epoch.seconds for epoch in measured)
        ratios = [f"{rate / other:.2f}" if other else "–" for other in (base, best)]
        spread = f"{rates[0]:,.0f} – {rates[-1]:,.0f}"
        lines.append(
            f"| {name} | {rate:,.0f} | {spread} | {seconds:.1f} | {' | '.join(ratios)} | {memory[name]:,.0f} |"
        )
    if facts and "fitroom" in found:
        share = _rate(found["fitroom"]) * facts["flops_per_image"] / (facts["matmul_gflops"] * 1e9)
        lines += [
            "",
            f"A large matrix product reaches {facts['matmul_gflops']:,.0f} GFLOP/s there; Fitroom's training step "
            f"{share:.1%} of that ({facts['flops_per_image'] / 1e6:.1f} MFLOP an image).",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
