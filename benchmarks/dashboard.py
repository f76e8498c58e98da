"""What a user waits for, and what serving costs the training: `make bench`.

- start-up: from `fitroom serve` to the first answer; and whether the web process has imported torch
- pages: the server's answer with 100 runs of 20 epochs stored, in sequence, p50 and p95
- middleware: what the headers, the access checks, the request ids and the measuring around each page cost, in one
  process and in alternating requests: the median of what a request takes longer than in the bare application
- latency: from an epoch's end in the trainer to its point on the chart of a real Chromium, p50 and p95
- images: a grid of 64 of a data set, from the click to the pixels; the slider, from its move to predictions, confusion
  matrix and scores of that epoch; what writing down an epoch with 10,000 predictions takes
- reliability: what it costs an epoch that nothing is lost (benchmarks.reliability)
- main job: three epochs of all 60,000 images, started from the form in the browser
- throughput: images/s under `fitroom serve` with the run's page open, over `python -m trainer` alone; the two in
  alternating rounds, medians of the epochs after each round's first
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from app import recording, runs
from app.config import ROOT, Settings
from app.db import Database
from app.guarding.people import LOCAL
from app.main import create_app
from app.middleware import Compressed
from app.schema import migrate
from tools import server as servers
from tools.browser import chromium
from tools.server import Server, serving
from trainer.config import TrainConfig
from trainer.devices import cpu_name
from trainer.events import EpochDone, Predictions, Started, Steps, Timings

Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="of the steps, by name")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON too")
    arguments = parser.parse_args()
    results: dict[str, Result] = {"machine": machine()}
    show("machine", results["machine"])
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        home = Path(folder)
        steps: dict[str, Callable[[], Result]] = {
            "start-up": lambda: start_up(home / "start", arguments.data_dir),
            "pages": lambda: pages(home / "pages", arguments.data_dir),
            "middleware": lambda: middleware(home / "middleware", arguments.data_dir),
            "latency": lambda: latency(home / "latency", arguments.data_dir, browser),
            "images": lambda: pictures(home / "images", arguments.data_dir, browser),
            "throughput": lambda: throughput(home, arguments.data_dir, browser, arguments.rounds),
            "reliability": lambda: reliability(arguments.data_dir),
            "main job": lambda: main_job(home / "main", arguments.data_dir, browser),
        }
        for name, step in steps.items():
            if arguments.only is None or name in arguments.only:
                results[name] = step()
                show(name, results[name])
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


def machine() -> Result:
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": cpu_name(),
        "python": platform.python_version(),
        "revision": revision.stdout.strip() or None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def start_up(home: Path, data_dir: Path) -> Result:
    """The first start, which makes the database and warms the disk, is not counted."""
    seconds = []
    for _ in range(6):
        begun = time.perf_counter()
        server = servers.start(home, data_dir, workers="0")
        seconds.append(time.perf_counter() - begun)
        servers.stop(server)
    code = "import app.main, sys; print('torch' in sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "ready_s_median": statistics.median(seconds[1:]),
        "ready_s_max": max(seconds[1:]),
        "imports_torch": imported,
    }


def pages(home: Path, data_dir: Path) -> Result:
    fill(home, number=100, epochs=20)
    with serving(home, data_dir, workers="0") as server:
        paths = ["/runs", "/runs?sort=-best_val_accuracy&page=2", "/runs/new", "/runs/50", "/runs/50?show=mistakes"]
        paths += [f"/compare?{'&'.join(f'runs={i}' for i in range(1, 11))}", "/api/v1/runs", "/api/v1/runs/50/metrics"]
        return {path.partition("&runs=2")[0]: timed(server, path) for path in paths}


ASKED_EACH = 200


def middleware(home: Path, data_dir: Path) -> Result:
    """Of requests in alternation, so that a drift of the machine falls on both; with a sign-in, which costs most."""
    fill(home, number=20, epochs=5)
    servers.link_fashion_mnist(home / "data", data_dir)
    settings = Settings(home=home, workers=0, token="a token for the benchmark")
    with TestClient(create_app(settings), base_url="http://localhost") as whole, bare(settings) as without:
        whole.get("/login", params={"token": settings.token})
        return {path: _in_alternation(whole, without, path) for path in ("/runs", "/runs/10", "/api/v1/runs/10")}


@contextmanager
def bare(settings: Settings) -> Iterator[TestClient]:
    """The same application without what guards and watches it; whoever asks is let in, and pages are compressed too."""
    app = create_app(settings)
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is Compressed]

    async def let_in(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["identity"] = LOCAL
        await app(scope, receive, send)

    with TestClient(let_in, base_url="http://localhost") as client:
        yield client


def _in_alternation(whole: TestClient, without: TestClient, path: str) -> str:
    """By the clock, and in processor time, which others on the machine hardly disturb."""
    clocks = {"clock": time.perf_counter, "processor": time.process_time}
    taken: dict[str, list[float]] = {name: [] for name in clocks}
    for number in range(ASKED_EACH):
        spent = {}
        # Who comes second finds everything warm.
        for client in (whole, without) if number % 2 else (without, whole):
            begun = {name: clock() for name, clock in clocks.items()}
            assert client.get(path).status_code == 200
            spent[client] = {name: 1000 * (clock() - begun[name]) for name, clock in clocks.items()}
        for name, differences in taken.items():
            differences.append(spent[whole][name] - spent[without][name])
    medians = {name: statistics.median(differences[10:]) for name, differences in taken.items()}
    return ", ".join(f"{value:.2f} ms by the {name}" for name, value in medians.items())


def timed(server: Server, path: str) -> str:
    seconds = []
    for _ in range(60):
        begun = time.perf_counter()
        with urllib.request.urlopen(server.url + path) as answer:
            size = len(answer.read())
        seconds.append(time.perf_counter() - begun)
    counted = sorted(seconds[10:])
    return f"p50 {counted[25] * 1000:.1f} ms, p95 {counted[47] * 1000:.1f} ms, {size / 1000:.0f} KB"


GRID_SHOWN = """async () => {
    const sprite = new Image();
    sprite.src = document.querySelector(".images image").getAttribute("href");
    await sprite.decode();
    await new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)));
    return performance.now();
}"""
"""Milliseconds from the start of the navigation to the frame after the sprite is there."""
SLIDER_MOVED = """(epoch) => new Promise((shown) => {
    const slider = document.getElementById("epoch-slider");
    const begun = performance.now();
    slider.value = epoch;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    const look = () => {
        const said = (name) => document.querySelector(`[data-${name}-epoch]`).textContent === `after epoch ${epoch}`;
        if (said("predictions") && said("confusion")) shown(performance.now() - begun);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""
"""Milliseconds from the slider's move to the frame in which everything speaks of that epoch."""


def pictures(home: Path, data_dir: Path, browser: Browser) -> Result:
    writing = sorted(fill(home, number=1, epochs=40))
    with serving(home, data_dir, workers="0") as server:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        grids = []
        for number in range(1, 32):
            page.goto(f"{server.url}/datasets/fashion-mnist?seed=1&page={number}", wait_until="domcontentloaded")
            grids.append(page.evaluate(GRID_SHOWN))
        page.goto(f"{server.url}/runs/1")
        page.locator("#chart-loss .main-svg").first.wait_for()
        moves = [page.evaluate(SLIDER_MOVED, epoch) for epoch in range(39, 3, -1)]
        page.close()
    return {
        "grid_of_64": spread(grids[1:]),
        "slider": spread(moves[1:]),
        "writing_an_epoch": spread([1000 * seconds for seconds in writing]),
    }


def spread(milliseconds: list[float]) -> str:
    values = sorted(milliseconds)
    at = [values[int(len(values) * share)] for share in (0.5, 0.95)]
    return f"p50 {at[0]:.1f} ms, p95 {at[1]:.1f} ms, {len(values)} times"


def fill(home: Path, *, number: int, epochs: int) -> list[float]:
    """Finished runs of 234 steps an epoch with predictions on all 10,000 validation images.

    Returns the seconds that each epoch with its predictions took to be written.
    """
    settings = Settings(home=home)
    migrate(settings.database)
    db, now = Database(settings.database), datetime.now(UTC)
    random, seconds = np.random.default_rng(0), []
    started = Started(
        "cpu", "a processor", 2, 582_026, tuple("abcdefghij"), 60_000, 10_000, 234, 0,
        "resident", "float32", 1, 24_000_000, 1e11, 0.5,
    )  # fmt: skip
    timings = Timings(0.1, 10.8, 1.0, 0.1)
    for place in range(number):
        with db.write() as session:
            config = TrainConfig(epochs=epochs, lr=0.001 * (1 + place % 7), seed=place)
            runs.submit(session, config, name=f"run {place}", tags=[f"tag {place % 5}"], now=now)
            held = runs.claim(session, "bench", now=now)
            assert held is not None
            recording.record(session, held, started, now=now)
        for epoch in range(1, epochs + 1):
            loss = math.exp(-epoch / 8) + 0.01 * (place % 7)
            said = random.integers(0, 10, 10_000, np.uint8), random.integers(0, 65536, 10_000).astype("<u2")
            predictions = Predictions(said[0].tobytes(), said[1].tobytes())
            done = EpochDone(
                epoch, loss, 1 - loss / 3, loss, 1 - loss / 3, 0.001, 12, 11, 5000, time.time(), timings, predictions
            )
            with db.write() as session:
                recording.record(session, held, Steps(epoch, (epoch - 1) * 234, (loss,) * 234), now=now)
            begun = time.perf_counter()
            with db.write() as session:
                recording.record(session, held, done, now=now)
            seconds.append(time.perf_counter() - begun)
        with db.write() as session:
            runs.finish(session, held, now=now)
    db.close()
    return seconds


def latency(home: Path, data_dir: Path, browser: Browser) -> Result:
    with serving(home, data_dir) as server:
        run_id = server.submit(train_size=2048, val_size=1000, batch_size=128, epochs=60)
        page = open_run(browser, server, run_id)
        server.wait_for(run_id, "finished", within=300, every=2.0)
        page.locator(".badge[data-status=finished]").first.wait_for()
        points = page.evaluate("globalThis.fitroomPoints")
        page.close()
    delays = sorted(point["drawn_at"] - point["finished_at"] for point in points if point["measure"] == "accuracy")
    return {
        "epochs_drawn": len(delays),
        "p50_ms": round(delays[len(delays) // 2] * 1000),
        "p95_ms": round(delays[int(len(delays) * 0.95)] * 1000),
        "max_ms": round(delays[-1] * 1000),
    }


def throughput(home: Path, data_dir: Path, browser: Browser, rounds: int) -> Result:
    """Rounds of the same training, alone and served; the last of an odd and an even order cancel a drift."""
    alone: list[float] = []
    served: list[float] = []
    for number in range(rounds):
        order = [
            lambda: alone.append(train_alone(data_dir)),
            lambda: served.append(train_served(home, data_dir, browser)),
        ]
        for step in order if number % 2 == 0 else reversed(order):
            step()
    ratios = [with_page / without for with_page, without in zip(served, alone, strict=True)]
    return {
        "alone_images_per_s": [round(speed) for speed in alone],
        "served_images_per_s": [round(speed) for speed in served],
        "ratio_by_round": [round(ratio, 3) for ratio in ratios],
        "ratio_median": round(statistics.median(ratios), 3),
    }


TRAINED = {"epochs": 3}
"""All 60,000 images: an epoch of the length that people watch."""


def train_alone(data_dir: Path) -> float:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TRAINED.items()]
    with tempfile.TemporaryDirectory() as run_dir:
        command = [sys.executable, "-m", "trainer", "--data-dir", str(data_dir), "--run-dir", run_dir, *flags]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    speeds = [float(speed.replace(",", "")) for speed in re.findall(r"([\d,]+) images/s", printed)]
    return statistics.median(speeds[1:])


def train_served(home: Path, data_dir: Path, browser: Browser) -> float:
    with tempfile.TemporaryDirectory(dir=home) as own, serving(Path(own), data_dir) as server:
        run_id = server.submit(**TRAINED)
        page = open_run(browser, server, run_id)
        server.wait_for(run_id, "finished", within=600, every=2.0)
        page.close()
        epochs = server.get(f"/api/v1/runs/{run_id}/metrics")["epochs"]
    return statistics.median(epoch["images_per_s"] for epoch in epochs[1:])


def open_run(browser: Browser, server: Server, run_id: int) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{server.url}/runs/{run_id}")
    page.locator("#chart-loss .main-svg").first.wait_for()
    return page


def reliability(data_dir: Path) -> Result:
    """In a process of its own: it needs torch."""
    command = [sys.executable, "-m", "benchmarks.reliability", "--data-dir", str(data_dir)]
    found: Result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    return found


def main_job(home: Path, data_dir: Path, browser: Browser) -> Result:
    with serving(home, data_dir) as server:
        page = browser.new_page()
        page.goto(f"{server.url}/runs/new")
        page.locator("#field-epochs").fill("3")
        page.get_by_role("button", name="Start run").click()
        page.locator("#run").wait_for()
        run_id = int(page.url.rpartition("/")[2])
        run = server.wait_for(run_id, "finished", "failed", within=900, every=2.0)
        page.locator(".badge[data-status=finished]").first.wait_for()
        drawn = page.evaluate("document.getElementById('chart-accuracy').data[1].y")
        page.close()
    return {"val_accuracy_by_epoch": drawn, "duration_s": run["duration_s"], "images_per_s": run["images_per_s"]}


def show(name: str, result: Result) -> None:
    print(f"\n{name}", flush=True)
    for key, value in result.items():
        print(f"  {key}: {value:.3f}" if isinstance(value, float) else f"  {key}: {value}", flush=True)


if __name__ == "__main__":
    main()
