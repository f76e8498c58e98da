"""The table of runs at the server: any sort, filter and group of 1,000 and of 10,000 runs, side by side in one process.

    python -m benchmarks.table            # generates both stores, some seconds and half a minute

Each address is asked of both stores in turn, so that both see the same machine. Times are those of the whole answer in
process: queries, template, compression; without a network. Where others keep the machine busy, the processor's time
says more than the clock's, so both are told. Claimed: p95 under 60 ms, and under 1.5 times the p95 of a
tenth of the runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from starlette.testclient import TestClient

from app.config import Settings
from app.main import create_app
from app.serve import freeze
from tools import store

SIZES = (1_000, 10_000)
SORTS = ("", "name", "-best_val_accuracy", "val_loss", "lr,-best_val_accuracy", "-duration_s", "status,-created_at")
FILTERS = (
    "lr < 0.01",
    "best_val_accuracy > 90% and optimizer in (adam, adamw)",
    "tag = lr-sweep and not status = failed",
    "name ~ resnet or tag = paper",
    "created > 30d and epochs >= 50",
    "seed = 0 and lr > 5",
)
GROUPS = ("config_key", "optimizer", "arch", "tag", "status")


def addresses() -> list[str]:
    found = [{"sort": sort} for sort in SORTS]
    found += [{"filter": text, "sort": "-best_val_accuracy"} for text in FILTERS]
    found += [{"group": group} for group in GROUPS] + [{"group": "config_key", "sort": "-best_val_accuracy"}]
    found += [{"fold": "off", "sort": sort} for sort in ("", "-best_val_accuracy", "lr,-best_val_accuracy")]
    found += [{"fold": "off", "filter": FILTERS[0], "sort": "-best_val_accuracy"}, {"status": "finished"}]
    found += [{"q": "resnet adam"}, {"page": "20"}, {"archived": "all", "sort": "val_loss"}]
    return [
        "/runs?" + "&".join(f"{name}={value.replace(' ', '+')}" for name, value in parts.items()) for parts in found
    ]


Times = dict[str, list[tuple[float, float]]]
"""Of each answer, by address: seconds on the clock, and of them seconds of this process's own work."""
CLOCK, WORK = 0, 1


def measure(homes: list[Path], rounds: int) -> list[Times]:
    """The times of each store."""
    times: list[Times] = [{address: [] for address in addresses()} for _ in homes]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(TestClient(create_app(Settings(home=home, port=0)), base_url="http://localhost"))
            for home in homes
        ]
        freeze()  # as the server does
        for number in range(rounds + 1):
            for address in addresses():
                for client, found in zip(clients, times, strict=True):
                    clock, work = time.perf_counter(), time.process_time()
                    assert client.get(address).status_code == 200, address
                    if number:  # the first round warms caches up
                        found[address].append((time.perf_counter() - clock, time.process_time() - work))
    return times


def p95(seconds: list[float]) -> float:
    """In milliseconds."""
    return statistics.quantiles(seconds, n=20)[-1] * 1000


def report(times: list[Times]) -> str:
    lines = [
        "| address | p95, 1,000 runs | p95, 10,000 runs | ratio | of it work: | | |",
        "|---|---|---|---|---|---|---|",
    ]
    for address in addresses():
        lines.append(_line(f"`{address}`", [found[address] for found in times]))
    lines.append(_line("all", [[pair for pairs in found.values() for pair in pairs] for found in times]))
    return "\n".join(lines)


def _line(label: str, pairs: list[list[tuple[float, float]]]) -> str:
    cells = [label]
    for kind in (CLOCK, WORK):
        few, many = (p95([pair[kind] for pair in found]) for found in pairs)
        cells += [f"{few:.1f} ms", f"{many:.1f} ms", f"{many / few:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--stores", type=Path, help="where stores of both sizes are kept, or generated into")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        homes = [(arguments.stores or Path(temporary)) / str(size) for size in SIZES]
        for home, size in zip(homes, SIZES, strict=True):
            if not Settings(home=home).database.exists():
                store.generate(home, size)
        print(report(measure(homes, arguments.rounds)))


if __name__ == "__main__":
    main()
