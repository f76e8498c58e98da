"""Whether a set that is larger than the memory is trained on all the same: `make bench-memory`.

The training images of Fashion-MNIST, enlarged to 160 x 160 in colour, are kept as a data set of 4.6 GB. Then a process
with a limit of 1.5 GB trains an epoch on it, once as `loading=auto` chooses and once with `loading=resident`, which
must fail: it shows that the limit is one. The limit is a control group, which counts all processes and the files that
the system keeps in memory, where one can be made (as root, version 1); elsewhere RLIMIT_DATA, for each process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.revision import ROOT, revision
from trainer import sources
from trainer.ingest.arrays import Array, Stored, blocks, guess
from trainer.ingest.contract import Choices
from trainer.ingest.reading import written
from trainer.store import Store

LIMIT, SIDE, ENLARGED, VAL = 1_500_000_000, 160, 5, 1000
CHANCE = 0.1
_GROUPS = Path("/sys/fs/cgroup/memory")


def keep_large(folder: Path, data_dir: Path, most: int | None) -> int:
    """The set `large` in the data folder `folder`; how many bytes its images take."""
    found = {split: sources.load("fashion-mnist", split, data_dir) for split in ("train", "val")}
    counts = {"train": most or len(found["train"]), "val": VAL}
    store = Store(folder)
    stored = [_enlarged(split, found[split], count) for split, count in counts.items()]
    guessed = guess("npz", stored, Choices(), sources.FASHION_MNIST)
    place = store.workplace()
    written(guessed, blocks(stored, guessed), place / "out")
    kept = store.accept(place / "out", "large")
    for file in kept.folder.iterdir():
        _forget(file)
    return (kept.folder / "train-images.npy").stat().st_size


def _forget(path: Path) -> None:
    """What the system keeps of it in memory would count as this process's, not as that of the one with the limit."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _enlarged(split: str, images: sources.ImageSet, count: int) -> Stored:
    def rows(most: int) -> Iterator[Array]:
        for start in range(0, count, most):
            part = images.images[start : min(count, start + most)]
            large = part.repeat(ENLARGED, 1).repeat(ENLARGED, 2).repeat(3, 3)
            edge = (SIDE - large.shape[1]) // 2
            yield np.pad(large, ((0, 0), (edge, edge), (edge, edge), (0, 0)))

    shape = (count, SIDE, SIDE, 3)
    return Stored(split, split, None, shape, np.dtype(np.uint8), images.labels[:count], rows, int(np.prod(shape)))


# ---------------------------------------------------------------- in the process with the limit


def train_within(folder: Path, loading: str, group: Path | None) -> dict[str, Any]:
    """One epoch; run before torch is imported, so that the limit is on all that it takes."""
    if group:
        (group / "cgroup.procs").write_text(str(os.getpid()))
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    from trainer.config import TrainConfig
    from trainer.events import EpochDone, Started
    from trainer.loop import train

    config = TrainConfig.from_dict(
        {"dataset": "set:large", "arch": "mlp", "mlp_width": 16, "mlp_depth": 1, "image_size": SIDE, "epochs": 1}
        | {"batch_size": 128, "loading": loading, "num_workers": 2}
    )
    told: dict[str, Any] = {}
    for event in train(config, data_dir=folder):
        if isinstance(event, Started):
            told["loading"] = event.loading
        elif isinstance(event, EpochDone):
            told |= {"seconds": event.seconds, "accuracy": event.val_accuracy}
    return told


# ---------------------------------------------------------------- beside it


@contextlib.contextmanager
def limited() -> Iterator[Path | None]:
    """A control group of this process's own with the limit, removed at the end; None where none can be made."""
    told = Path("/proc/self/cgroup")
    lines = told.read_text().splitlines() if told.exists() else []
    path = next((line.partition(":memory:")[2] for line in lines if ":memory:" in line), None)
    group = _GROUPS / (path or "").lstrip("/") / f"fitroom-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError:
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def measured(folder: Path, loading: str, group: Path | None) -> dict[str, Any]:
    """What the process told, or how it ended; and the most memory at a time that was no copy of a file."""
    command = [sys.executable, "-m", "benchmarks.memory", "--inside", str(folder), "--loading", loading]
    command += ["--group", str(group)] if group else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    most = 0
    while process.poll() is None:
        most = max(most, _held(group, process.pid))
        time.sleep(0.1)
    out, err = process.communicate()
    if process.returncode == 0:
        return {**json.loads(out), "memory": most}
    said = err.strip().splitlines()[-1][:80] if err.strip() else f"ended by signal {-process.returncode}"
    return {"loading": loading, "ended": said, "memory": most}


def _held(group: Path | None, pid: int) -> int:
    """Bytes that the processes hold beyond what the system keeps of files; without a group, of the first one only."""
    one = (Path(f"/proc/{pid}/status"), "RssAnon:", 1024)
    path, name, unit = (group / "memory.stat", "total_rss", 1) if group else one
    with contextlib.suppress(OSError):  # it is gone
        for line in path.read_text().splitlines():
            if line.split()[0] == name:
                return int(line.split()[1]) * unit
    return 0


def report(folder: Path, size: int) -> tuple[str, bool]:
    """The table, and whether what is claimed holds."""
    with limited() as group:
        auto = measured(folder, "auto", group)
        resident = measured(folder, "resident", group)
    holds = auto["loading"] == "dataloader" and auto.get("accuracy", 0) > 2 * CHANCE and "ended" in resident
    means = "a control group, files in memory included" if group else "RLIMIT_DATA, each process"
    lines = [
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"revision {revision()}, {datetime.now(UTC):%Y-%m-%d}; {size / 1e9:.2f} GB of training images, a limit of "
        f"{LIMIT / 1e9:.2f} GB ({means}), one epoch of an MLP.",
        "",
        "| loading | came to | s | validation accuracy | most memory of its processes, MB |",
        "|---|---|---|---|---|",
    ]
    for asked, told in (("auto", auto), ("resident", resident)):
        ended = told.get("ended")
        end = f"– | {ended}" if ended else f"{told['seconds']:.0f} | {100 * told['accuracy']:.1f} %"
        lines.append(f"| {asked} | {told['loading']} | {end} | {told['memory'] / 1e6:.0f} |")
    claim = "a set three times as large as the memory is trained on, as auto chooses by itself; resident loading fails"
    lines += ["", f"Claimed: {claim}. {'It holds.' if holds else 'It does NOT hold here.'}", ""]
    return "\n".join(lines), holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--images", type=int, help="so many training images; all 60,000 are 4.6 GB")
    parser.add_argument("--out", type=Path, help="write the table here too")
    for hidden in ("--inside", "--group"):
        parser.add_argument(hidden, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--loading", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(train_within(arguments.inside, arguments.loading, arguments.group)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        size = keep_large(Path(folder), arguments.data_dir, arguments.images)
        table, holds = report(Path(folder), size)
    print(table)
    if arguments.out:
        arguments.out.write_text(table)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
