"""The table of runs at the server: any sort, filter and group of 1,000 and of 10,000 runs, side by side in one process.

    python -m benchmarks.table            # generates both stores, some seconds and half a minute

Each address is asked of both stores in turn, so that both see the same machine. Times are those of the whole answer in
process: queries, template, compression; without a network. Claimed: p95 under 60 ms, and under 1.5 times the p95 of a
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
    found += [{"q": "resnet adam"}, {"page": "20"}, {"archived": "all", "sort": "val_loss"}]
    return [
        "/runs?" + "&".join(f"{name}={value.replace(' ', '+')}" for name, value in parts.items()) for parts in found
    ]


def measure(homes: list[Path], rounds: int) -> list[dict[str, list[float]]]:
    """Seconds of each answer, by address, for each store."""
    times: list[dict[str, list[float]]] = [{address: [] for address in addresses()} for _ in homes]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(TestClient(create_app(Settings(home=home, port=0)), base_url="http://localhost"))
            for home in homes
        ]
        for number in range(rounds + 1):
            for address in addresses():
                for client, found in zip(clients, times, strict=True):
                    begun = time.perf_counter()
                    assert client.get(address).status_code == 200, address
                    if number:  # the first round warms caches up
                        found[address].append(time.perf_counter() - begun)
    return times


def p95(seconds: list[float]) -> float:
    """In milliseconds."""
    return statistics.quantiles(seconds, n=20)[-1] * 1000


def report(times: list[dict[str, list[float]]]) -> str:
    lines = ["| address | p95, 1,000 runs | p95, 10,000 runs | ratio |", "|---|---|---|---|"]
    for address in addresses():
        few, many = (p95(found[address]) for found in times)
        lines.append(f"| `{address}` | {few:.1f} ms | {many:.1f} ms | {many / few:.2f} |")
    few, many = (p95([value for found in times_of.values() for value in found]) for times_of in times)
    medians = [statistics.median([v for found in times_of.values() for v in found]) * 1000 for times_of in times]
    lines.append(f"| all | {few:.1f} ms | {many:.1f} ms | {many / few:.2f} |")
    lines.append(f"| all, median | {medians[0]:.1f} ms | {medians[1]:.1f} ms | {medians[1] / medians[0]:.2f} |")
    return "\n".join(lines)


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
