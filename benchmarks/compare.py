"""The table of runs at 1,000 and 10,000 of them, beside MLflow's own server with the same runs, in one go.

    make bench-compare          or: python -m benchmarks.compare --mlflow var/mlflow/bin/python

Both are asked over HTTP on this machine, on connections that stay open, in alternating rounds; times are until the
whole answer is there. Both record into SQLite without HTTP between.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from sqlalchemy import select

from app import metrics, runs
from app.config import Settings
from app.models import Run
from app.runs_table.columns import COLUMNS
from app.schema import opened
from benchmarks import beside_mlflow, compare_browser, compare_recording
from benchmarks.revision import revision
from tools.browser import chromium
from tools.server import serving
from tools.store import generate

FILTERS = (
    "lr < 0.001", "lr >= 0.0005 and lr <= 0.002", "optimizer = adam", "arch in (net, resnet)", "status = failed",
    "best_val_accuracy > 0.92", "tag = baseline", "tag = paper and optimizer != sgd", "name ~ resnet",
    "dropout = 0.3 or label_smoothing > 0", "not (flip = true) and epochs > 100", "val_loss is empty",
    "created > 2026-01-01 and seed = 0", "(schedule = cosine or schedule = onecycle) and batch_size >= 128",
)  # fmt: skip
GROUPS = ("config_key", "arch", "optimizer", "status", "schedule", "batch_size", "dropout", "seed", "mix", "lr")


@dataclass
class Asked:
    """How long each question took, in milliseconds, by question."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def add(self, question: str, ms: float) -> None:
        self.times.setdefault(question, []).append(ms)

    def all(self, kind: str) -> list[float]:
        return sorted(ms for question, found in self.times.items() if question.startswith(kind) for ms in found)

    def medians(self) -> dict[str, float]:
        return {question: statistics.median(found) for question, found in self.times.items()}


class Asker:
    """One connection that stays open, and is opened anew where the server has closed it for its silence."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def ms(self, path: str, body: dict[str, Any] | None = None) -> tuple[float, bytes, str]:
        """Milliseconds until all of the answer is there, what came, and its encoding. Raises RuntimeError."""
        try:
            return self._ms(path, body)
        except http.client.RemoteDisconnected:
            self._connection.close()
            return self._ms(path, body)

    def _ms(self, path: str, body: dict[str, Any] | None) -> tuple[float, bytes, str]:
        headers = {"Accept-Encoding": "gzip"} | ({"Content-Type": "application/json"} if body else {})
        begun = time.perf_counter()
        self._connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        took = (time.perf_counter() - begun) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
        return took, content, answer.getheader("Content-Encoding", "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=(1000, 10_000), metavar=("FEW", "MANY"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mlflow", type=Path, help="the Python that has MLflow; without it only Fitroom is measured")
    parser.add_argument(
        "--browser", action=argparse.BooleanOptionalAction, default=True, help="what Chromium draws too"
    )
    parser.add_argument("--out", type=Path, help="write the report here too")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = compare(Path(folder), parsed.sizes, parsed.rounds, parsed.mlflow, with_browser=parsed.browser)
    print(f"\n{report}")
    if parsed.out:
        parsed.out.write_text(report)


def compare(folder: Path, sizes: Sequence[int], rounds: int, mlflow: Path | None, *, with_browser: bool) -> str:
    few, many = sizes
    homes = {size: folder / f"{size}" for size in sizes}
    for size, home in homes.items():
        begun = time.monotonic()
        generate(home, size)
        print(f"a store of {size:,} runs in {time.monotonic() - begun:.1f} s", flush=True)
    asked = {size: Asked() for size in sizes}
    # A heading's link, a filter that was typed, a group: what the page offers, and the API.
    questions = list(_questions())
    with (
        serving(homes[few], workers="0") as one,
        serving(homes[many], workers="0") as other,
    ):
        askers = {few: Asker(one.url), many: Asker(other.url)}
        for number in range(rounds + 1):
            for question, path in questions:
                for size in sizes if number % 2 else reversed(sizes):
                    took, _, _ = askers[size].ms(path)
                    # The first round warms both.
                    if number:
                        asked[size].add(question, took)
            print(f"table, round {number} of {rounds}", flush=True)
        page = _page_bytes(askers[many])
        lines = [*_head(few, many, rounds), *_table(asked, few, many), "", page]
        if mlflow is not None:
            with _mlflow_server(folder, homes[few], mlflow) as (url, experiment):
                lines += ["", *_beside(Asker(url), askers[few], experiment, few, rounds)]
            lines += ["", *compare_recording.table(folder, mlflow, rounds)]
    if with_browser:
        lines += ["", *_in_chromium(folder)]
    return "\n".join(lines) + "\n"


def _questions() -> Iterator[tuple[str, str]]:
    for key in COLUMNS:
        for sort in (key, f"-{key}"):
            yield f"sort, page {sort}", f"/runs?sort={sort}"
            yield f"sort, API {sort}", f"/api/v1/runs?sort={sort}"
    for text in FILTERS:
        yield f"filter, page {text}", f"/runs?filter={quote(text)}"
        yield f"filter, API {text}", f"/api/v1/runs?{urlencode({'filter': text, 'sort': '-best_val_accuracy,lr'})}"
    for key in GROUPS:
        yield f"group, page {key}", f"/runs?group={key}"
        yield f"group, page {key} best", f"/runs?group={key}&sort=-best_val_accuracy"


def _head(few: int, many: int, rounds: int) -> list[str]:
    code = f"revision {known}" if (known := revision()) else "no revision known"
    return [
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{code}, {datetime.now(UTC).date()}; {rounds} alternating rounds; generated stores of {few:,} and {many:,} "
        "runs.",
        "",
    ]


def _table(asked: dict[int, Asked], few: int, many: int) -> list[str]:
    lines = [
        f"| question | asked | p50 at {few:,}, ms | p95 | p50 at {many:,}, ms | p95 | slowest | p95 to p95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in ("sort, page", "sort, API", "filter, page", "filter, API", "group, page"):
        times = {size: asked[size].all(kind) for size in (few, many)}
        small, large = ([_quantile(times[size], share) for share in (0.5, 0.95)] for size in (few, many))
        slowest = max((ms, question) for question, ms in asked[many].medians().items() if question.startswith(kind))
        lines.append(
            f"| {kind} | {len(times[many]):,} | {small[0]:.1f} | {small[1]:.1f} | {large[0]:.1f} | {large[1]:.1f} | "
            f"{slowest[1].removeprefix(kind).strip()}: {slowest[0]:.1f} | {large[1] / small[1]:.2f} |"
        )
    return lines


def _page_bytes(asker: Asker) -> str:
    _, content, encoding = asker.ms("/runs")
    size = len(content) if encoding == "gzip" else len(gzip.compress(content, 6))
    how = "as sent" if encoding == "gzip" else "if it were compressed; it is sent as it is"
    return f"The page of 50 rows: {size / 1000:.1f} KB compressed, {how}."


# MLflow


@contextmanager
def _mlflow_server(folder: Path, home: Path, python: Path) -> Iterator[tuple[str, str]]:
    """MLflow's own server on SQLite with the runs of `home`; its address and the experiment's number."""
    store = folder / "mlflow.db"
    print("loading the same runs into MLflow ...", flush=True)
    told = beside_mlflow.ask(python, "load", str(store), given="\n".join(map(json.dumps, _as_mlflow(home))))
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}", "--default-artifact-root", str(folder / "artifacts")]
    log = (folder / "mlflow.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _until_there(url, process, folder / "mlflow.log")
        yield url, told["experiment"]
    finally:
        # It starts processes of its own, which would outlive it.
        os.killpg(process.pid, 15)
        process.wait(30)
        log.close()


def _as_mlflow(home: Path) -> Iterator[dict[str, Any]]:
    """Every run with its settings and the four measures of each epoch."""
    with opened(Settings(home=home).database) as db, db.read() as session:
        for run_id in session.scalars(select(Run.id).order_by(Run.id)).all():
            run = runs.get(session, run_id)
            at = int(run.created_at.timestamp() * 1000)
            points = [
                (name, value, at + row.epoch, row.epoch)
                for row in metrics.epochs(session, run_id)
                for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
                if (value := getattr(row, name)) is not None
            ]
            params = {name: value for name, value in run.config.items() if value is not None}
            yield {"name": run.name, "start_ms": at, "params": params, "metrics": points}
            session.expunge_all()


def _until_there(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            Asker(url).ms("/health")
        except (OSError, http.client.HTTPException, RuntimeError):
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit(f"MLflow's server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        else:
            return


def _beside(theirs: Asker, ours: Asker, experiment: str, few: int, rounds: int) -> list[str]:
    search = "/api/2.0/mlflow/runs/search"
    asked = {"experiment_ids": [experiment], "max_results": 50}
    pairs = {
        "order by a metric": (
            {**asked, "order_by": ["metrics.val_accuracy DESC"]},
            "/api/v1/runs?sort=-val_accuracy",
        ),
        "order by a setting": ({**asked, "order_by": ["params.lr ASC"]}, "/api/v1/runs?sort=lr"),
        "filter and order": (
            {
                **asked,
                "filter": "metrics.val_loss < 0.4 and params.optimizer = 'adam'",
                "order_by": ["metrics.val_accuracy DESC"],
            },
            f"/api/v1/runs?{urlencode({'filter': 'val_loss < 0.4 and optimizer = adam', 'sort': '-val_accuracy'})}",
        ),
    }
    lines = [
        f"| {few:,} runs, 50 of them asked for | MLflow, ms | Fitroom, ms | ratio | lowest to highest of the rounds |",
        "|---|---|---|---|---|",
    ]
    for name, (question, path) in pairs.items():
        theirs.ms(search, question)
        ours.ms(path)
        found: list[tuple[float, float]] = []
        for number in range(max(rounds, 3)):
            order = [lambda q=question: theirs.ms(search, q)[0], lambda p=path: ours.ms(p)[0]]
            both = [step() for step in (order if number % 2 else reversed(order))]
            found.append((both[0], both[1]) if number % 2 else (both[1], both[0]))
        ratios = sorted(slow / fast for slow, fast in found)
        slow, fast = (statistics.median(pair[place] for pair in found) for place in (0, 1))
        lines.append(
            f"| {name} | {slow:.1f} | {fast:.1f} | {statistics.median(ratios):.1f} | "
            f"{ratios[0]:.1f} – {ratios[-1]:.1f} |"
        )
        print(lines[-1], flush=True)
    return lines


def _in_chromium(folder: Path) -> list[str]:
    """What a comparison and a long curve cost in a real browser, on a store of their own."""
    print("drawing in Chromium ...", flush=True)
    with serving(folder / "drawn", workers="0") as server, chromium() as browser:
        found = compare_browser.rows(server, browser)
    return ["| in Chromium | measured | aimed at |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in found)]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


if __name__ == "__main__":
    main()
