"""How long a data set that someone brings takes to be ready to train on, and how much memory: `make bench-data`.

The Fashion-MNIST training images as Kaggle hands them out, a CSV file of 133 MB, made here from the IDX files. Each way
reads it in a process of its own, one after the other, and rounds alternate the order; the table shows medians.
Fitroom's way does all of it: guess, convert, hash, hold back a validation split, look at every image, keep. The others
only make arrays of bytes, which shows what a general CSV reader would leave to be done.
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
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.revision import ROOT, revision
from trainer import sources

READY_S, MEMORY = 15.0, 1e9
"""What is claimed of Fitroom's way: seconds, and bytes of memory in all."""
_PIXELS = 784


def write_csv(path: Path, data_dir: Path) -> None:
    """`label,pixel1,...,pixel784` and 60,000 rows."""
    found = sources.load("fashion-mnist", "train", data_dir)
    words = np.array([str(value) for value in range(256)])
    with path.open("w") as file:
        file.write(",".join(["label", *(f"pixel{number}" for number in range(1, _PIXELS + 1))]) + "\n")
        for image, label in zip(found.images.reshape(-1, _PIXELS), found.labels.tolist(), strict=True):
            file.write(f"{label},{','.join(words[image])}\n")


def fitroom(path: Path, folder: Path) -> int:
    from trainer.ingest import Choices, Upload, convert, findings, guess
    from trainer.store import Store

    files, store = [Upload(path, path.name)], Store(folder)
    found = guess(files, Choices())
    out = store.workplace() / "out"
    convert(files, found.choices, out)
    findings(out)
    kept = store.accept(out, "bench")
    return len(sources.load(kept.id, "train", folder)) + len(sources.load(kept.id, "val", folder))


def pandas(path: Path, folder: Path) -> int:
    import pandas as pd

    rows = 0
    with (folder / "pixels.u8").open("wb") as out, pd.read_csv(path, dtype=np.int64, chunksize=2048) as reader:
        for frame in reader:
            numbers = frame.to_numpy()
            assert numbers.min() >= 0
            assert numbers.max() <= 255
            out.write(numbers[:, 1:].astype(np.uint8).tobytes())
            rows += len(numbers)
    return rows


def pyarrow(path: Path, folder: Path) -> int:
    import pyarrow as pa
    from pyarrow import csv

    names = ["label", *(f"pixel{number}" for number in range(1, _PIXELS + 1))]
    as_bytes = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.uint8()))
    rows = 0
    with (folder / "pixels.u8").open("wb") as out, csv.open_csv(path, convert_options=as_bytes) as reader:
        for batch in reader:
            out.write(np.stack([column.to_numpy() for column in batch.columns[1:]], 1).tobytes())
            rows += batch.num_rows
    return rows


WAYS: dict[str, Callable[[Path, Path], int]] = {
    "Fitroom, all of it": fitroom,
    "pandas, C reader, arrays only": pandas,
    "pyarrow, all cores, arrays only": pyarrow,
}


def measure(way: str, path: Path) -> dict[str, float]:
    """In this process: seconds on the clock and of processors, and the most memory."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        begun, spent = time.perf_counter(), time.process_time()
        rows = WAYS[way](path, Path(folder))
        seconds = time.perf_counter() - begun
    assert rows == 60_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu": time.process_time() - spent, "memory": peak}


def measured(way: str, path: Path) -> dict[str, float]:
    """In a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data", "--way", way, "--csv", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def report(rounds: int, path: Path) -> tuple[str, bool]:
    """The table, and whether the claims hold."""
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in list(WAYS)[:: 1 if number % 2 == 0 else -1]:
            results[way].append(measured(way, path))
            print(f"round {number + 1}, {way}: {results[way][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    middle = {
        way: {name: statistics.median(one[name] for one in found) for name in ("seconds", "cpu", "memory")}
        for way, found in results.items()
    }
    ours = middle["Fitroom, all of it"]
    holds = ours["seconds"] < READY_S and ours["memory"] < MEMORY
    lines = [
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"revision {revision()}, {datetime.now(UTC):%Y-%m-%d}; {rounds} alternating rounds, "
        f"a CSV file of {path.stat().st_size / 1e6:.0f} MB.",
        "",
        "| way | s | s of processors | to Fitroom | memory in all, MB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {way} | {found['seconds']:.1f} | {found['cpu']:.1f} | {found['seconds'] / ours['seconds']:.2f} "
        f"| {found['memory'] / 1e6:.0f} |"
        for way, found in middle.items()
    ]
    claim = f"ready to train on in under {READY_S:.0f} s with less than {MEMORY / 1e9:.0f} GB"
    lines += ["", f"Claimed: {claim}. {'It holds.' if holds else 'It does NOT hold here.'}", ""]
    return "\n".join(lines), holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--csv", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.csv)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fashion-mnist_train.csv"
        write_csv(path, arguments.data_dir)
        table, holds = report(arguments.rounds, path)
    print(table)
    if arguments.out:
        arguments.out.write_text(table)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
