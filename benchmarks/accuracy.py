"""How well the ways of training do, over several seeds: `make bench-accuracy`.

Every run is a process of its own, and its result a line in the log; a run that is in the log already, of the same
settings, is not done again, so that hours can be spent in parts. The report, made from the log, names the revisions.
Validation accuracy is that after the last epoch, not the best one: choosing the best would be choosing on the test
images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.revision import ROOT, revision
from trainer import devices
from trainer.config import TrainConfig
from trainer.events import EpochDone, Started
from trainer.loop import train
from trainer.presets import PRESETS

REFERENCE = "the tutorial's script"
FLOAT32 = "Tutorial, float32"
Row = dict[str, Any]


def settings_of(way: str) -> dict[str, Any]:
    """What a way changes; the reference takes nothing but a seed."""
    if way == REFERENCE:
        return {}
    if way == FLOAT32:
        return {"precision": "float32"}
    return dict(next(preset for preset in PRESETS.values() if preset.label == way).changes)


WAYS = (REFERENCE, FLOAT32, *(preset.label for preset in PRESETS.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS, metavar="WAY")
    parser.add_argument("--seeds", nargs="*", type=int, help="0 1 2, on a GPU 0 1 2 3 4")
    parser.add_argument("--at-once", type=int, default=1, help="runs beside each other, sharing the processor's cores")
    parser.add_argument("--log", type=Path, default=ROOT / "benchmarks" / "results" / "accuracy.jsonl")
    parser.add_argument("--out", type=Path, help="write the report there as Markdown too")
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, seed = arguments.one
        print(json.dumps(run(way, int(seed), arguments.device, arguments.data_dir)))
        return
    kind = devices.resolve(arguments.device).type
    seeds = arguments.seeds or (range(5) if kind == "cuda" else range(3))
    wanted = [(way, seed) for way in arguments.ways for seed in seeds]
    if not arguments.report_only:
        done = {(row["way"], row["seed"]) for row in known(arguments.log, kind)}
        missing = [key for key in wanted if key not in done]
        with ThreadPoolExecutor(arguments.at_once) as pool:
            list(pool.map(lambda key: _in_a_process(key[0], key[1], arguments), missing))
    rows = [row for row in known(arguments.log, kind) if (row["way"], row["seed"]) in wanted]
    text = report(rows)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def run(way: str, seed: int, device: str, data_dir: Path) -> Row:
    begun = time.perf_counter()
    if way == REFERENCE:
        from benchmarks.tutorial import Tutorial

        where = devices.resolve(device)
        # The number of workers changes no sample, only the time; two processors are best served by few.
        script = Tutorial(data_dir, where, num_workers=int(os.environ.get("TUTORIAL_WORKERS", "2")), seed=seed)
        accuracies = [epoch.val_accuracy for epoch in script.epochs(20)]
        told = {"device": devices.name_of(where), "precision": "float32", "parameters": 582_026}
    else:
        config = TrainConfig.from_dict({**settings_of(way), "seed": seed, "device": device})
        accuracies, told = [], {}
        for event in train(config, data_dir=data_dir):
            if isinstance(event, Started):
                told = {"device": event.device_name, "precision": event.precision, "parameters": event.parameters}
            if isinstance(event, EpochDone):
                accuracies.append(event.val_accuracy)
    return {
        "way": way,
        "seed": seed,
        "kind": devices.resolve(device).type,
        "settings": settings_of(way),
        "revision": revision() or "unknown",
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.perf_counter() - begun, 1),
        "threads": torch.get_num_threads(),
        "accuracies": accuracies,
        **told,
    }


def known(log: Path, kind: str) -> list[Row]:
    """The log's runs on this kind of device, of the settings that the ways have now."""
    if not log.exists():
        return []
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    rows = [row for row in rows if row.get("kind", "cpu") == kind]
    return [row for row in rows if row["way"] in WAYS and row["settings"] == settings_of(row["way"])]


def report(rows: list[Row]) -> str:
    """A table of means over the seeds, and how each result was got."""
    if not rows:
        return "No runs yet.\n"
    lines = [
        "| way | seeds | mean, % | lowest to highest | after epochs 1, 3 | parameters | minutes a run |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        found = [row for row in rows if row["way"] == way]
        if not found:
            continue
        last = sorted(row["accuracies"][-1] * 100 for row in found)
        early = ", ".join(f"{statistics.mean(row['accuracies'][n - 1] for row in found):.1%}" for n in (1, 3))
        minutes = statistics.mean(row["seconds"] for row in found) / 60
        epochs = len(found[0]["accuracies"])
        lines.append(
            f"| {way}, {epochs} epochs, {found[0]['precision']} | {len(found)} | **{statistics.mean(last):.2f}** | "
            f"{last[0]:.2f} – {last[-1]:.2f} | {early} | {found[0]['parameters']:,} | {minutes:.1f} |"
        )
    got = sorted({f"{row['device']}, {row['versions']}, revision {row['revision']}, {row['date']}" for row in rows})
    return "\n".join([*lines, "", "How it was got:", "", *(f"- {line}" for line in got)]) + "\n"


def _in_a_process(way: str, seed: int, arguments: argparse.Namespace) -> None:
    threads = max(1, (os.cpu_count() or 1) // arguments.at_once)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accuracy", "--one", way, str(seed), "--device", arguments.device,
         "--data-dir", str(arguments.data_dir)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{way}, seed {seed}: {done.stderr.strip().splitlines()[-1]}")
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    with arguments.log.open("a") as file:
        file.write(done.stdout.splitlines()[-1] + "\n")
    row = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}, seed {seed}: {row['accuracies'][-1]:.2%} in {row['seconds'] / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
