"""Fitroom's trainer against the tutorial's own script, side by side: `make bench-trainer`.

    python -m benchmarks.trainer --device cuda     on a machine with torch, torchvision, numpy and pandas alone

Each round trains every way for one warm-up epoch (not counted) and some counted ones, one way after another, in
processes of their own; rounds alternate the order. A rate is training images per second of an epoch's training part;
the table shows the median over all counted epochs of all rounds, and its ratio to the tutorial as given (4 workers).
Memory is the most that the process ever held on the host, above what it held after torch had computed something there.

On a GPU there are other ways to hold against ours, and 20 epochs are timed from the call to the end, in a process that
has trained before. What recording costs is measured by `benchmarks.recording`.
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
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from benchmarks import ways
from benchmarks.revision import ROOT, revision
from benchmarks.ways import AS_GIVEN, LOOP, OURS, QUICK, WAYS, WHOLE, Measured
from trainer import devices
from trainer.errors import DeviceError
from trainer.loop import train

WHOLE_EPOCHS = 20


@dataclass
class Found:
    """What the rounds have shown of one way."""

    epochs: list[Measured] = field(default_factory=list)
    memory_mb: float = 0.0
    started: dict[str, float] = field(default_factory=dict)
    whole_s: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def rates(self) -> list[float]:
        return sorted(epoch.images_per_s for epoch in self.epochs)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def seconds(self) -> float:
        return statistics.median(epoch.seconds for epoch in self.epochs)


def main() -> None:
    arguments = _parser().parse_args()
    device = "cuda:0" if arguments.device == "cuda" else arguments.device
    try:
        kind = devices.resolve(device).type
    except DeviceError as error:
        sys.exit(str(error))
    epochs = arguments.epochs or (10 if kind == "cuda" else 1)
    if arguments.one:
        _one(arguments.one, kind, device, arguments.data_dir, epochs, whole=arguments.whole)
        return
    names = arguments.ways or list(WAYS[kind])
    if unknown := set(names) - set(WAYS[kind]):
        sys.exit(f"There is no way called {', '.join(sorted(unknown))}; there are {', '.join(WAYS[kind])}.")
    found = {name: Found() for name in names}
    for number in range(arguments.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            if not found[name].failure:
                _measure(found[name], name, kind, device, arguments.data_dir, epochs)
                print(f"round {number + 1}  {name:<32} {_shown(found[name])}", flush=True)
    report = "\n\n".join(_report(found, kind, device, arguments.rounds, epochs))
    if arguments.recording:
        report += f"\n\n{_recording(device, arguments.data_dir, graphs=kind == 'cuda')}"
    print(f"\n{report}")
    if arguments.out:
        arguments.out.write_text(f"{report}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="counted epochs a round; 1, on a GPU 10 of the quick ways")
    parser.add_argument("--ways", nargs="*", metavar="WAY", help="only these")
    parser.add_argument("--recording", action=argparse.BooleanOptionalAction, default=True, help="what it costs too")
    parser.add_argument("--out", type=Path, help="write the table there as Markdown too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    return parser


def _one(name: str, kind: str, device: str, data_dir: Path, epochs: int, *, whole: bool) -> None:
    """In the child: every epoch as a line of JSON, the process's memory, and if asked a whole training."""
    _torch_alone(torch.device(device))
    before = _rss_mb()
    for measured in (WAYS[kind] | QUICK)[name].go(device, data_dir, epochs + 1):
        print(json.dumps({"epoch": [measured.images_per_s, measured.seconds]}), flush=True)
    print(json.dumps({"memory_mb": _rss_mb() - before}), flush=True)
    if whole:
        begun = time.perf_counter()
        for _ in train(ways.configured(device, WHOLE_EPOCHS, WHOLE[name]), data_dir=data_dir):
            pass
        print(json.dumps({"whole_s": time.perf_counter() - begun}), flush=True)


def _torch_alone(device: torch.device) -> None:
    """A little of all that a training computes, so that what torch loads and keeps for it is there."""
    x = torch.rand(256, 1, 28, 28, device=device)
    network = nn.Sequential(nn.Conv2d(1, 32, 5), nn.Flatten(), nn.Linear(32 * 24 * 24, 10)).to(device)
    network(x).sum().backward()
    torch.optim.Adam(network.parameters(), fused=True).step()


def _rss_mb() -> float:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(found: Found, name: str, kind: str, device: str, data_dir: Path, epochs: int) -> None:
    """One way in one round, in a process of its own; `found` takes what it tells."""
    way = WAYS[kind][name]
    command = [sys.executable, "-m", "benchmarks.trainer", "--one", name, "--device", device]
    command += ["--data-dir", str(data_dir), "--epochs", str(1 if way.slow else epochs)]
    command += ["--whole"] if kind == "cuda" and name in WHOLE else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        found.failure = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if not way.may_fail:
            sys.exit(f"{name}: {found.failure}")
        return
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found.epochs += [Measured(*line["epoch"]) for line in lines if "epoch" in line][1:]
    found.memory_mb = next(line["memory_mb"] for line in lines if "memory_mb" in line)
    found.started = next((line["started"] for line in lines if "started" in line), {})
    found.whole_s += [line["whole_s"] for line in lines if "whole_s" in line]


def _shown(found: Found) -> str:
    return f"not possible here: {found.failure}" if found.failure else f"{found.rate:10,.0f} images/s so far"


def _report(found: dict[str, Found], kind: str, device: str, rounds: int, epochs: int) -> list[str]:
    code = f"revision {known}" if (known := revision()) else "no revision known"
    counted = f"{epochs} counted epoch(s)" + (" (the tutorial's own: 1)" if epochs > 1 else "")
    head = (
        f"{devices.name_of(torch.device(device))}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {code}, {datetime.now(UTC).date()}; "
        f"{rounds} alternating rounds of {counted}, batches of 256, all 60,000 images."
    )
    possible = {name: one for name, one in found.items() if not one.failure}
    parts = [head, _table(possible, kind), _share(possible)]
    parts += [
        f"{WHOLE_EPOCHS} epochs of {name}, from the call to the end in a process that has trained before, without "
        f"checkpoints: {statistics.median(one.whole_s):.2f} s ({min(one.whole_s):.2f} – {max(one.whole_s):.2f})."
        for name, one in possible.items()
        if one.whole_s
    ]
    parts += [f"Not possible on this machine: {name} ({one.failure})." for name, one in found.items() if one.failure]
    return [part for part in parts if part]


def _table(found: dict[str, Found], kind: str) -> str:
    tutorials = [one.rate for name, one in found.items() if name.startswith("tutorial")]
    against: dict[str, float | None] = {
        "to 4 workers": found[AS_GIVEN].rate if AS_GIVEN in found else None,
        "to its best": max(tutorials, default=None),
    }
    if kind == "cuda":
        against["to the resident loop"] = found[LOOP].rate if LOOP in found else None
    lines = [
        f"| way | images/s | lowest to highest | epoch, s | {' | '.join(against)} | memory above torch's, MB |",
        "|---|---|---|---|" + "---|" * len(against) + "---|",
    ]
    for name, one in found.items():
        ratios = [f"{one.rate / other:.2f}" if other else "–" for other in against.values()]
        lines.append(
            f"| {name} | {one.rate:,.0f} | {one.rates[0]:,.0f} – {one.rates[-1]:,.0f} | {one.seconds:.3g} | "
            f"{' | '.join(ratios)} | {one.memory_mb:,.0f} |"
        )
    return "\n".join(lines)


def _share(found: dict[str, Found]) -> str:
    """What of the machine's matrix products our step reaches."""
    if OURS not in found:
        return ""
    facts, rate = found[OURS].started, found[OURS].rate
    share = rate * facts["flops_per_image"] / (facts["matmul_gflops"] * 1e9)
    return (
        f"A large matrix product reaches {facts['matmul_gflops']:,.0f} GFLOP/s there; Fitroom's training step "
        f"{share:.1%} of that ({facts['flops_per_image'] / 1e6:.1f} MFLOP an image)."
    )


def _recording(device: str, data_dir: Path, *, graphs: bool) -> str:
    command = [sys.executable, "-m", "benchmarks.recording", "--device", device, "--data-dir", str(data_dir)]
    # A GPU is done with a small epoch before the losses are read once, so it gets whole ones.
    command += ["--graphs", "--pairs", "20", "--train-size", "60000"] if graphs else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
